use futures_util::FutureExt;

use super::*;

fn limits(connections: usize, unauthenticated: usize, per_address: usize) -> Limits {
    let settings = LimitSettings {
        connections,
        unauthenticated,
        per_address,
        holds: 3,
        holds_per_address: 2,
        ..LimitSettings::default()
    };
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    Limits::new(settings, Arc::new(metrics))
}

fn from(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 5_555)
}

fn is_evicted(slot: &Slot) -> bool {
    slot.stranger().evicted().now_or_never().is_some()
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
fn who_has_authenticated_is_never_put_out() {
    let limits = limits(2, 2, 1);
    let known = limits.enter(from("192.0.2.1")).unwrap();
    known.authenticated();
    let silent = limits.enter(from("192.0.2.1")).unwrap();
    let next = limits.enter(from("192.0.2.1")).unwrap();
    assert_eq!(evicted(&[known, silent, next]), [false, true, false]);
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
    assert_eq!(limits.pool().connections, 1);
}

#[test]
fn every_place_is_free_again_in_the_end() {
    let limits = limits(10, 3, 2);
    for turn in 0..50_u8 {
        let slot = limits.enter(from(&format!("192.0.2.{}", turn % 3))).unwrap();
        if turn % 2 == 0 {
            slot.authenticated();
        }
        if turn % 7 != 0 {
            drop(slot);
        }
    }
    let pool = limits.pool();
    assert_eq!((pool.connections, pool.strangers.len(), pool.by_address.len()), (0, 0, 0));
}

#[test]
fn one_ipv6_host_is_one_address() {
    let limits = limits(100, 100, 1);
    let first = limits.enter(from("2001:db8::1")).unwrap();
    let other = limits.enter(from("2001:db8:0:1::1")).unwrap();
    let again = limits.enter(from("2001:db8::2")).unwrap();
    assert_eq!(evicted(&[first, other, again]), [true, false, false]);
    assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), from("192.0.2.1").ip());
}

#[test]
fn waits_have_a_bound_per_address_and_in_all() {
    let limits = limits(100, 100, 100);
    let (here, there) = (from("192.0.2.1"), from("192.0.2.2"));
    let hold = |client| limits.hold(client, Waits::Known);
    let first = hold(here).unwrap();
    let second = hold(here).unwrap();
    assert!(hold(here).is_none());
    let third = hold(there).unwrap();
    assert!(hold(there).is_none());
    drop((first, second, third));
    assert!(hold(here).is_some());
    let pool = limits.pool();
    assert_eq!((pool.known_holds.all, pool.known_holds.by_address.len()), (0, 0));
}

fn many_holds() -> Limits {
    let settings = LimitSettings { holds: 100, holds_per_address: 32, ..LimitSettings::default() };
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    Limits::new(settings, Arc::new(metrics))
}

#[test]
fn strangers_who_wait_leave_half_of_the_places_to_those_who_are_known() {
    let limits = many_holds();
    let client = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, n / 16, 0, 0, 0, n % 16], 5_555));
    let hold = |who| (0..4_096).filter_map(|n| limits.hold(client(n), who)).collect::<Vec<_>>();
    let strangers = hold(Waits::Stranger);
    assert_eq!(strangers.len(), 50);
    assert_eq!(hold(Waits::Known).len(), 50);
}

#[test]
fn strangers_of_one_network_have_few_places_and_take_none_from_its_known_ones() {
    let limits = many_holds();
    let client = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, n], 5_555));
    let hold = |who| (0..100).filter_map(|n| limits.hold(client(n), who)).collect::<Vec<_>>();
    let mut strangers = hold(Waits::Stranger);
    assert_eq!(strangers.len(), STRANGERS_HOLDING);
    let known = hold(Waits::Known);
    assert_eq!(known.len(), 32);
    strangers[0].confirmed();
    assert!(hold(Waits::Stranger).is_empty(), "there is no room among the known ones");
    drop(known);
    strangers[0].confirmed();
    assert_eq!(hold(Waits::Stranger).len(), 1, "who is confirmed is no stranger");
    drop(strangers);
    let pool = limits.pool();
    assert_eq!((pool.known_holds.all, pool.strange_holds.all), (0, 0));
    assert!(pool.known_holds.by_address.is_empty() && pool.strange_holds.by_address.is_empty());
}
