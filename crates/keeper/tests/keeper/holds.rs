//! Holds: placed, told, released.

use ultrasimple_core::KeyStem;
use ultrasimple_core::hold::Hold;
use ultrasimple_keeper::{Holds, holds};
use ultrasimple_store::StoreError;

use crate::faulty::PutFault;
use crate::world::{World, at, stem};

fn hold(name: &str) -> Hold {
    Hold::new(stem(name), at(1), Some("legal".to_owned()))
}

#[tokio::test]
async fn a_hold_is_placed_once_and_released_once() {
    let world = World::new().await;
    assert!(world.holds().await.is_empty() && !world.holds().await.holds(&stem("t1")));
    assert!(holds::place(&world.store, &hold("t1")).await.unwrap());
    let later = Hold::new(stem("t1"), at(9), Some("other".to_owned()));
    assert!(!holds::place(&world.store, &later).await.unwrap(), "it is there already");
    let held = world.holds().await;
    assert!(held.holds(&stem("t1")) && !held.holds(&stem("t2")) && held.len() == 1);
    assert_eq!(held.read(&world.store).await.unwrap(), [Ok(hold("t1"))], "the first one stays");
    assert!(holds::release(&world.store, &stem("t1")).await.unwrap());
    assert!(!holds::release(&world.store, &stem("t1")).await.unwrap());
    assert_eq!(world.holds().await, Holds::default());
    assert_eq!(held.read(&world.store).await.unwrap(), [], "it has been released");
}

#[tokio::test]
async fn the_longest_stems_can_be_held() {
    let world = World::new().await;
    let longest = KeyStem::new("s".repeat(1_001), 1_024).unwrap();
    let other = KeyStem::new(format!("{}t", "s".repeat(1_000)), 1_024).unwrap();
    let placed = Hold::new(longest.clone(), at(1), None);
    assert!(holds::place(&world.store, &placed).await.unwrap());
    let held = world.holds().await;
    assert!(held.holds(&longest) && !held.holds(&other));
    assert_eq!(held.read(&world.store).await.unwrap(), [Ok(placed)]);
}

#[tokio::test]
async fn what_cannot_be_understood_holds_all_the_same() {
    let world = World::new().await;
    let mut expected = Vec::new();
    let copied = hold("t9").to_bytes().unwrap();
    let newer =
        String::from_utf8(copied.clone()).unwrap().replace("\"format\": 1", "\"format\": 2");
    let contents = [b"".to_vec(), b"{".to_vec(), vec![b' '; 100_000], copied, newer.into_bytes()];
    for (number, bytes) in contents.into_iter().enumerate() {
        let name = stem(&format!("t{number}"));
        expected.push(Err(Hold::key(&name)));
        world.put_bytes(&Hold::key(&name), bytes).await;
        assert!(world.holds().await.holds(&name), "t{number}");
        assert!(!holds::place(&world.store, &Hold::new(name, at(1), None)).await.unwrap());
    }
    assert!(holds::place(&world.store, &hold("u")).await.unwrap());
    expected.push(Ok(hold("u")));
    let mut read = world.holds().await.read(&world.store).await.unwrap();
    let order = |hold: &Result<Hold, _>| match hold {
        Ok(hold) => Hold::key(&hold.stem),
        Err(key) => ultrasimple_core::ObjectKey::clone(key),
    };
    read.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(read, expected);
    assert!(holds::release(&world.store, &stem("t1")).await.unwrap(), "it can be released");
    assert!(!world.holds().await.holds(&stem("t1")));
}

#[tokio::test]
async fn an_unknown_outcome_is_looked_at() {
    let world = World::new().await;
    world.faults().puts.push_back(PutFault::DoneUnknown);
    assert!(holds::place(&world.store, &hold("t1")).await.unwrap());
    world.faults().puts.push_back(PutFault::LostUnknown);
    let placed = holds::place(&world.store, &hold("t2")).await;
    assert!(matches!(placed, Err(StoreError::UnknownOutcome(_))), "{placed:?}");
    assert!(!world.holds().await.holds(&stem("t2")));
    world.faults().puts.push_back(PutFault::Preceded(hold("t2").to_bytes().unwrap()));
    assert!(!holds::place(&world.store, &hold("t2")).await.unwrap(), "somebody else's stays");
}

#[tokio::test]
async fn what_fails_is_told() {
    let world = World::new().await;
    holds::place(&world.store, &hold("t1")).await.unwrap();
    let key = Hold::key(&stem("t1")).to_string();
    let denied = StoreError::Denied("no".to_owned());
    world.faults().deletes.insert(key.clone(), denied);
    let released = holds::release(&world.store, &stem("t1")).await;
    assert!(matches!(released, Err(StoreError::Denied(_))));
    assert!(world.holds().await.holds(&stem("t1")));
    world.faults().gets.insert(key, 1);
    assert!(world.holds().await.read(&world.store).await.is_err(), "not read is not damaged");
    world.faults().puts.push_back(PutFault::Refused);
    assert!(holds::place(&world.store, &hold("t3")).await.is_err());
    world.faults().unconditional = true;
    assert!(holds::place(&world.store, &hold("t4")).await.unwrap());
}
