use futures_util::FutureExt;

use super::*;

fn limits(connections: usize, unauthenticated: usize, per_address: usize) -> Limits {
    let bounds = Bounds {
        connections,
        unauthenticated,
        per_address,
        per_network: usize::MAX,
        per_person: 2,
    };
    Limits::new(bounds, |_| {})
}

fn from(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 5_555)
}

fn is_evicted(slot: &Slot) -> bool {
    slot.unauthenticated().evicted().now_or_never().is_some()
}

fn evicted(slots: &[Slot]) -> Vec<bool> {
    slots.iter().map(is_evicted).collect()
}

#[test]
fn the_oldest_stranger_makes_room() {
    let limits = limits(100, 3, 100);
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    let slots = addresses.map(|address| limits.enter(from(address)).unwrap());
    assert_eq!(evicted(&slots), [true, false, false, false]);
}

#[test]
fn an_address_makes_room_for_itself_first() {
    let limits = limits(100, 100, 2);
    let addresses = ["192.0.2.9", "192.0.2.1", "192.0.2.1", "192.0.2.1"];
    let slots = addresses.map(|address| limits.enter(from(address)).unwrap());
    assert_eq!(evicted(&slots), [false, true, false, false]);
}

#[test]
fn a_network_makes_room_for_itself_before_others_do() {
    let bounds = Bounds {
        connections: 100,
        unauthenticated: 100,
        per_address: 100,
        per_network: 2,
        per_person: 1,
    };
    let limits = Limits::new(bounds, |_| {});
    let addresses = ["198.51.100.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"];
    let slots = addresses.map(|address| limits.enter(from(address)).unwrap());
    assert_eq!(evicted(&slots), [false, true, false, false]);
    let addresses = ["2001:db8:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"];
    let slots = addresses.map(|address| limits.enter(from(address)).unwrap());
    assert_eq!(evicted(&slots), [true, false, false]);
}

#[test]
fn who_has_authenticated_is_never_put_out() {
    let limits = limits(2, 2, 1);
    let known = limits.enter(from("192.0.2.1")).unwrap();
    known.authenticated();
    let silent = limits.enter(from("192.0.2.1")).unwrap();
    let next = limits.enter(from("192.0.2.1")).unwrap();
    assert_eq!(evicted(&[known, silent, next]), [false, true, false]);
}

#[test]
fn a_flood_closes_no_connection_from_an_address_where_somebody_is_known() {
    let limits = limits(1_000, 20, 1_000);
    limits.enter(from("198.51.100.7")).unwrap().authenticated();
    let newcomer = limits.enter(from("198.51.100.7")).unwrap();
    let flood = |n: u32| SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 5_555));
    let flood: Vec<Slot> = (0..10_000).map(|n| limits.enter(flood(n)).unwrap()).collect();
    assert!(!is_evicted(&newcomer));
    assert_eq!(flood.iter().filter(|slot| !is_evicted(slot)).count(), 19);
}

#[test]
fn a_request_at_work_is_closed_after_those_that_wait_for_their_clients() {
    let limits = limits(100, 2, 100);
    let busy = Arc::new(limits.enter(from("192.0.2.1")).unwrap());
    let work = busy.at_work();
    let idle = limits.enter(from("192.0.2.2")).unwrap();
    let third = limits.enter(from("192.0.2.3")).unwrap();
    assert_eq!((is_evicted(&busy), is_evicted(&idle)), (false, true));
    drop(work);
    let fourth = limits.enter(from("192.0.2.4")).unwrap();
    assert_eq!((is_evicted(&busy), is_evicted(&third), is_evicted(&fourth)), (true, false, false));
}

#[test]
fn one_person_has_so_many_places_and_their_own_oldest_makes_room() {
    let limits = limits(100, 100, 100);
    let as_alice = || {
        let slot = limits.enter(from("192.0.2.1")).unwrap();
        slot.authenticated_as("alice");
        slot
    };
    let bob = limits.enter(from("192.0.2.1")).unwrap();
    bob.authenticated_as("bob");
    // Saying so again takes no second place.
    bob.authenticated_as("bob");
    let slots = [bob, as_alice(), as_alice(), as_alice()];
    assert_eq!(evicted(&slots), [false, true, false, false]);
    drop(slots);
    assert!(limits.pool().is_empty());
}

#[test]
fn a_full_house_of_the_authenticated_takes_nobody_until_one_leaves() {
    let limits = limits(2, 2, 2);
    let slots = [(); 2].map(|()| limits.enter(from("192.0.2.1")).unwrap());
    slots.iter().for_each(Slot::authenticated);
    assert!(limits.enter(from("192.0.2.1")).is_none());
    drop(slots);
    assert!(limits.enter(from("192.0.2.1")).is_some());
}

#[test]
fn ten_thousand_that_say_nothing_keep_nobody_out() {
    let limits = limits(500, 400, 300);
    let mut silent: Vec<Slot> = Vec::new();
    for _ in 0..10_000 {
        silent.push(limits.enter(from("192.0.2.1")).unwrap());
    }
    let good = limits.enter(from("192.0.2.1")).unwrap();
    assert!(!is_evicted(&good));
    assert_eq!(silent.iter().filter(|slot| !is_evicted(slot)).count(), 299);
    drop(silent);
    assert_eq!(limits.pool().connections(), 1);
}

#[test]
fn every_place_is_free_again_in_the_end() {
    let limits = limits(10, 3, 2);
    for turn in 0..50_u8 {
        let slot = Arc::new(limits.enter(from(&format!("192.0.2.{}", turn % 3))).unwrap());
        let work = slot.at_work();
        match turn % 3 {
            0 => slot.authenticated(),
            1 => slot.authenticated_as("alice"),
            _ => {}
        }
        if turn % 7 == 0 {
            drop(work);
        }
    }
    assert!(limits.pool().is_empty());
}

#[test]
fn every_connection_that_a_bound_closes_is_counted_under_its_name() {
    let counted = Arc::new(Mutex::new(Vec::new()));
    let bounds = Bounds {
        connections: 4,
        unauthenticated: 3,
        per_address: 1,
        per_network: 2,
        per_person: 1,
    };
    let limits = Limits::new(bounds, {
        let counted = Arc::clone(&counted);
        move |why: Refused| counted.lock().unwrap().push(why.word())
    });
    let addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1"];
    let mut slots: Vec<Slot> =
        addresses.iter().map(|address| limits.enter(from(address)).unwrap()).collect();
    slots.push(limits.enter(from("203.0.113.1")).unwrap());
    for slot in &slots {
        slot.authenticated_as("alice");
    }
    let counted = counted.lock().unwrap();
    assert_eq!(counted[..3], ["address", "network", "unauthenticated"]);
    assert_eq!(counted[3..], ["person", "person"]);
}

#[test]
fn one_ipv6_host_is_one_address() {
    let limits = limits(100, 100, 1);
    let first = limits.enter(from("2001:db8::1")).unwrap();
    let other = limits.enter(from("2001:db8:0:1::1")).unwrap();
    let again = limits.enter(from("2001:db8::2")).unwrap();
    assert_eq!(evicted(&[first, other, again]), [true, false, false]);
}
