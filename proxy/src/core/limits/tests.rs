use super::*;

fn few_places() -> Limits {
    let settings = LimitSettings { pending: 3, pending_per_address: 2, ..LimitSettings::default() };
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    Limits::new(settings, Arc::new(metrics))
}

fn from(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 5_555)
}

#[test]
fn waiting_connections_are_limited_per_address_and_in_all() {
    let limits = few_places();
    let (here, there) = (from("192.0.2.1"), from("192.0.2.2"));
    let wait = |client| limits.wait(client, WaitingClient::Authenticated);
    let first = wait(here).unwrap();
    let second = wait(here).unwrap();
    assert!(wait(here).is_none());
    let third = wait(there).unwrap();
    assert!(wait(there).is_none());
    drop((first, second, third));
    assert!(wait(here).is_some());
    let waiting = limits.waiting();
    assert_eq!((waiting.authenticated.all, waiting.authenticated.by_address.len()), (0, 0));
}

fn many_places() -> Limits {
    let settings =
        LimitSettings { pending: 100, pending_per_address: 32, ..LimitSettings::default() };
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    Limits::new(settings, Arc::new(metrics))
}

#[test]
fn unauthenticated_clients_that_wait_leave_half_of_the_places_to_authenticated_ones() {
    let limits = many_places();
    let client = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, n / 16, 0, 0, 0, n % 16], 5_555));
    let wait = |kind| (0..4_096).filter_map(|n| limits.wait(client(n), kind)).collect::<Vec<_>>();
    let unauthenticated = wait(WaitingClient::Unauthenticated);
    assert_eq!(unauthenticated.len(), 50);
    assert_eq!(wait(WaitingClient::Authenticated).len(), 50);
}

#[test]
fn unauthenticated_clients_of_one_network_take_no_place_of_its_authenticated_ones() {
    let limits = many_places();
    let client = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, n], 5_555));
    let wait = |kind| (0..100).filter_map(|n| limits.wait(client(n), kind)).collect::<Vec<_>>();
    let mut unauthenticated = wait(WaitingClient::Unauthenticated);
    assert_eq!(unauthenticated.len(), UNAUTHENTICATED_PER_ADDRESS);
    let authenticated = wait(WaitingClient::Authenticated);
    assert_eq!(authenticated.len(), 32);
    unauthenticated[0].confirmed();
    assert!(
        wait(WaitingClient::Unauthenticated).is_empty(),
        "the authenticated clients leave no room"
    );
    drop(authenticated);
    unauthenticated[0].confirmed();
    assert_eq!(
        wait(WaitingClient::Unauthenticated).len(),
        1,
        "a confirmed client is authenticated"
    );
    drop(unauthenticated);
    let waiting = limits.waiting();
    assert_eq!((waiting.authenticated.all, waiting.unauthenticated.all), (0, 0));
    assert!(
        waiting.authenticated.by_address.is_empty()
            && waiting.unauthenticated.by_address.is_empty()
    );
}
