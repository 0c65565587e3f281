use super::*;

fn few_holds() -> Limits {
    let settings = LimitSettings { holds: 3, holds_per_address: 2, ..LimitSettings::default() };
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    Limits::new(settings, Arc::new(metrics))
}

fn from(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 5_555)
}

#[test]
fn waits_have_a_bound_per_address_and_in_all() {
    let limits = few_holds();
    let (here, there) = (from("192.0.2.1"), from("192.0.2.2"));
    let hold = |client| limits.hold(client, Waits::Known);
    let first = hold(here).unwrap();
    let second = hold(here).unwrap();
    assert!(hold(here).is_none());
    let third = hold(there).unwrap();
    assert!(hold(there).is_none());
    drop((first, second, third));
    assert!(hold(here).is_some());
    let holding = limits.holding();
    assert_eq!((holding.known.all, holding.known.by_address.len()), (0, 0));
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
    let holding = limits.holding();
    assert_eq!((holding.known.all, holding.strange.all), (0, 0));
    assert!(holding.known.by_address.is_empty() && holding.strange.by_address.is_empty());
}
