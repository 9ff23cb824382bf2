use std::{cell::RefCell, future::pending, net::TcpListener};

use tokio::time::Instant;

use super::{
    super::{lane::Lane, tests::hostile},
    *,
};

fn address(n: u8) -> SocketAddr {
    ([192, 0, 2, n], 8500).into()
}

#[actix::test]
async fn an_address_that_is_silent_gets_a_head_start_and_one_that_refuses_none() {
    tokio::time::pause();
    let begun = Instant::now();
    let connect = |to: SocketAddr| async move {
        match to.ip().to_string().as_str() {
            "192.0.2.1" => pending().await,
            "192.0.2.2" => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => Ok("connected"),
        }
    };
    let addresses = [address(1), address(2), address(3)];
    let connected = first_of(&addresses, connect).await.unwrap();
    assert_eq!(connected, (address(3), "connected"));
    assert!((HEAD_START..HEAD_START * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[actix::test]
async fn who_was_silent_is_tried_again_beside_the_first_try() {
    tokio::time::pause();
    let tries = RefCell::new(0);
    let connect = |_| {
        *tries.borrow_mut() += 1;
        let is_first = *tries.borrow() == 1;
        async move { if is_first { pending().await } else { Ok(()) } }
    };
    assert!(first_of(&[address(1)], connect).await.is_ok());
    assert_eq!(*tries.borrow(), 2);
}

#[actix::test]
async fn where_all_addresses_refuse_the_last_failure_is_told_at_once() {
    tokio::time::pause();
    let begun = Instant::now();
    let connect = |_| async { Err::<(), _>(io::ErrorKind::ConnectionRefused.into()) };
    let failed = first_of(&[address(1), address(2)], connect).await.unwrap_err();
    assert_eq!(
        (failed.kind(), begun.elapsed()),
        (io::ErrorKind::ConnectionRefused, Duration::ZERO)
    );
    assert!(first_of(&[], connect).await.is_err());
}

#[actix::test]
async fn a_name_is_resolved_anew_for_each_connection() {
    let (old, new) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
    let (old, new) = (old.unwrap().local_addr().unwrap(), new.unwrap());
    let at = new.local_addr().unwrap();
    let answers = Rc::new(RefCell::new(vec![vec![at], vec![old, at], vec![at], vec![old]]));
    let config = hostile::config("http://agent.example:8500");
    let mut dialer = Dialer::new(&config).unwrap();
    let asked = Rc::new(RefCell::new(Vec::new()));
    let (names, given) = (asked.clone(), answers.clone());
    dialer.resolve = Box::new(move |host, port| {
        names.borrow_mut().push((host, port));
        let answer = given.borrow_mut().pop().unwrap();
        Box::pin(async move { Ok(answer) })
    });
    // Nobody listens at the old address any more.
    assert!(dialer.connect("agent.example", 8500).await.is_err());
    for _ in 0..3 {
        let connected = dialer.connect("agent.example", 8500).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), at);
    }
    assert_eq!(*asked.borrow(), vec![("agent.example".to_owned(), 8500); 4]);
}

#[actix::test]
async fn a_panic_while_a_connection_is_opened_fails_its_request_and_the_next_one_is_served() {
    let server = hostile::Server::doing(vec![]).await;
    let mut dialer = Dialer::new(&hostile::config("http://agent.example:8500")).unwrap();
    let (calls, at) = (Cell::new(0), server.address);
    dialer.resolve = Box::new(move |_, _| {
        calls.set(calls.get() + 1);
        let is_first = calls.get() == 1;
        Box::pin(async move {
            assert!(!is_first, "as the test wants it");
            Ok(vec![at])
        })
    });
    let lane = Lane::new(Rc::new(dialer), 1, 1, 1);
    let refused = lane.seat().await.map(drop);
    assert!(matches!(refused, Err(Trouble::Connect(_))), "{refused:?}");
    assert!(lane.seat().await.is_ok());
}
