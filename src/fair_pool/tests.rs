use std::net::IpAddr;

use futures_util::FutureExt;
use tokio::time::advance;

use super::ledger::PROTECTED_MS;
use super::*;

/// Less than the time for which a piece is protected.
const LIMIT: Duration = Duration::from_millis(500);

fn block(n: u8) -> AddressBlock {
    AddressBlock::of(IpAddr::from([10, 0, 0, n]))
}

/// A claim of one unit, and the token that says whether it was displaced.
fn claim(pool: &FairPool, n: u8) -> (Claim, CancellationToken) {
    let displaced = CancellationToken::new();
    (Claim::displaceable(block(n), pool.new_progress(), displaced.clone()), displaced)
}

fn take(pool: &FairPool, n: u8) -> (Piece, CancellationToken) {
    let (claim, displaced) = claim(pool, n);
    (pool.acquire(claim, LIMIT).now_or_never().unwrap().unwrap(), displaced)
}

#[tokio::test(start_paused = true)]
async fn one_client_may_hold_everything_until_another_one_comes() {
    let pool = FairPool::new(3, 4);
    let mut held: Vec<_> = (0..3).map(|_| take(&pool, 1)).collect();
    let mut newcomer = Box::pin(pool.acquire(claim(&pool, 2).0, LIMIT));
    assert!(newcomer.as_mut().now_or_never().is_none());
    let is_displaced = |held: &[(Piece, CancellationToken)]| -> Vec<_> {
        held.iter().map(|(_, displaced)| displaced.is_cancelled()).collect()
    };
    assert_eq!(is_displaced(&held), [true, false, false]);
    held.remove(0);
    assert!(newcomer.await.is_ok());
    assert_eq!(pool.free(), 1, "the granted piece was dropped");
    // With a free unit nobody is displaced.
    let _ = take(&pool, 2);
    assert_eq!(is_displaced(&held), [false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_freed_unit_goes_to_the_client_that_holds_least_and_then_in_turn() {
    let pool = FairPool::new(2, 8);
    let fixed = |n| Box::pin(pool.acquire(Claim::fixed(block(n)), LIMIT));
    let mut running: Vec<_> = vec![(1, fixed(1).await.unwrap()), (1, fixed(1).await.unwrap())];
    let mut waiting: Vec<_> = [1, 1, 1, 2, 2, 3].map(|n| (n, fixed(n))).into();
    assert!(waiting.iter_mut().all(|(_, waiting)| waiting.now_or_never().is_none()));
    let mut served = Vec::new();
    while !waiting.is_empty() {
        running.remove(0);
        for index in (0..waiting.len()).rev() {
            if let Some(piece) = waiting[index].1.as_mut().now_or_never() {
                let (n, _) = waiting.remove(index);
                served.push(n);
                running.push((n, piece.unwrap()));
            }
        }
    }
    assert_eq!(served, [2, 1, 3, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_in_vain_is_refused_and_frees_its_place() {
    let pool = FairPool::new(1, 1);
    let _held = pool.acquire(Claim::fixed(block(1)), LIMIT).await.unwrap();
    for _ in 0..2 {
        let started = Instant::now();
        let refused = pool.acquire(Claim::fixed(block(2)), LIMIT).await;
        assert!(matches!(refused, Err(ClaimRefusal::TimedOut(_))));
        assert_eq!(started.elapsed(), LIMIT);
        assert!(matches!(pool.request(Claim::fixed(block(2))), Answer::Full), "its place is taken until it ends");
    }
    let dropped = Box::pin(pool.acquire(Claim::fixed(block(2)), LIMIT)).now_or_never();
    assert!(dropped.is_none());
    assert!(matches!(pool.request(Claim::fixed(block(2))), Answer::Waiting(_)));
}

#[tokio::test(start_paused = true)]
async fn a_full_line_gives_a_place_of_its_largest_client_to_a_newcomer() {
    let pool = FairPool::new(1, 2);
    let _held = pool.acquire(Claim::fixed(block(1)), LIMIT).await.unwrap();
    let wait = |n| Box::pin(pool.acquire(Claim::fixed(block(n)), LIMIT));
    let (mut first, mut second) = (wait(1), wait(1));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    assert!(matches!(wait(1).now_or_never(), Some(Err(ClaimRefusal::Full))), "the own places are protected");
    let mut newcomer = wait(2);
    assert!((&mut newcomer).now_or_never().is_none());
    assert!(matches!(first.now_or_never(), Some(Err(ClaimRefusal::Full))));
    assert!((&mut second).now_or_never().is_none());
    advance(Duration::from_millis(PROTECTED_MS)).await;
    assert!(matches!(pool.request(Claim::fixed(block(3))), Answer::Full), "equal clients keep their places");
}

#[tokio::test(start_paused = true)]
async fn each_newcomer_displaces_only_what_it_needs() {
    let pool = FairPool::new(8, 8);
    let held: Vec<_> = (0..8).map(|_| take(&pool, 1)).collect();
    let displaced = || held.iter().filter(|(_, displaced)| displaced.is_cancelled()).count();
    let mut waiting = Vec::new();
    for (units, expected) in [(1, 1), (2, 3), (1, 4), (1, 4)] {
        let mut newcomer = Box::pin(pool.acquire(claim(&pool, 2).0.units(units), LIMIT));
        assert!(newcomer.as_mut().now_or_never().is_none());
        waiting.push(newcomer);
        assert_eq!(displaced(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn room_is_made_by_one_piece_at_a_time_and_running_work_is_the_last_choice() {
    let pool = FairPool::new(4, 4);
    let mut held = Vec::new();
    for _ in 0..4 {
        let (progress, displaced) = (pool.new_progress(), CancellationToken::new());
        let claim = Claim::displaceable(block(1), progress.clone(), displaced.clone());
        held.push((pool.acquire(claim, LIMIT).await.unwrap(), progress, displaced));
    }
    held[0].1.set_working();
    let displaced = |held: &[(Piece, PieceProgress, CancellationToken)]| -> Vec<_> {
        held.iter().map(|(_, _, displaced)| displaced.is_cancelled()).collect()
    };
    for _ in 0..3 {
        pool.make_room();
        assert_eq!(displaced(&held), [false, true, false, false], "one piece is about to leave");
    }
    held.remove(1);
    for (_, progress, _) in &held {
        progress.set_working();
    }
    advance(Duration::from_millis(1)).await;
    pool.make_room();
    pool.make_room();
    assert_eq!(displaced(&held).iter().filter(|displaced| **displaced).count(), 1, "running work leaves later");
    // The work of the first one still runs. A piece that waits can leave before it.
    let (_, waiting, _) = held.iter().find(|(_, _, displaced)| !displaced.is_cancelled()).unwrap();
    waiting.set_waiting();
    pool.make_room();
    assert_eq!(displaced(&held).iter().filter(|displaced| **displaced).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn running_work_that_leaves_does_not_keep_a_waiting_piece_from_leaving() {
    let pool = FairPool::new(3, 4);
    let mut held = Vec::new();
    for _ in 0..3 {
        let (progress, displaced) = (pool.new_progress(), CancellationToken::new());
        progress.set_working();
        let claim = Claim::displaceable(block(1), progress.clone(), displaced.clone());
        held.push((pool.acquire(claim, LIMIT).await.unwrap(), progress, displaced));
    }
    let mut newcomer = Box::pin(pool.acquire(claim(&pool, 2).0, LIMIT));
    assert!((&mut newcomer).now_or_never().is_none());
    drop(newcomer);
    assert_eq!(held.iter().filter(|(_, _, displaced)| displaced.is_cancelled()).count(), 1);
    let (_, progress, other) = held.iter().find(|(_, _, displaced)| !displaced.is_cancelled()).unwrap();
    progress.set_waiting();
    let mut newcomer = Box::pin(pool.acquire(claim(&pool, 3).0, LIMIT));
    assert!((&mut newcomer).now_or_never().is_none());
    assert!(other.is_cancelled(), "the running work may take long to leave");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_once_when_the_connection_of_the_client_is_displaced() {
    let pool = FairPool::new(1, 2);
    let held = pool.acquire(Claim::fixed(block(1)), LIMIT).await.unwrap();
    let connection = CancellationToken::new();
    let fixed = Claim::fixed(Claimant { block: block(1), connection: Some(&connection) });
    let displaceable = Claim::displaceable(block(1), pool.new_progress(), connection.clone());
    let mut waiting = [fixed, displaceable].map(|claim| Box::pin(pool.acquire(claim, LIMIT)));
    assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
    connection.cancel();
    for waiting in waiting {
        assert!(matches!(waiting.now_or_never(), Some(Err(ClaimRefusal::Full))));
    }
    assert!(matches!(pool.request(Claim::fixed(block(1)).units(1)), Answer::Waiting(_)), "the places are free");
    drop(held);
    assert_eq!(pool.free(), 1);
}
