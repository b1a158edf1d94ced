use serde_json::json;

use super::*;

fn rows(owner: impl Fn(usize) -> (&'static str, &'static str)) -> Vec<Value> {
    let row = |shard| {
        let (owner, desired) = owner(shard);
        json!({"volume": "v", "shard": shard, "owner": owner, "desired": desired})
    };
    (0..SHARDS).map(row).collect()
}

#[test]
fn shards_are_settled_when_each_is_where_it_should_be_and_nowhere_else() {
    let both = |shard: usize| if shard.is_multiple_of(2) { ("a", "a") } else { ("b", "b") };
    let all = rows(both);
    assert!(is_settled(&all, &["a", "b"]));
    // One of them has none; another one has some; one is missing; one is not where it should be; one has no owner.
    assert!(!is_settled(&all, &["a", "b", "c"]) && !is_settled(&all, &["a"]));
    assert!(!is_settled(&all[1..], &["a", "b"]));
    assert!(!is_settled(
        &rows(|shard| if shard == 7 { ("a", "b") } else { both(shard) }),
        &["a", "b"]
    ));
    let mut unowned = rows(both);
    unowned[3]["owner"] = Value::Null;
    assert!(!is_settled(&unowned, &["a", "b"]));
}

#[test]
fn commits_are_read_by_the_name_of_their_database() {
    let said = "12 /data/t1.db\r\nsomething else\n7 /restored/data/t2.db\n";
    assert_eq!(commits(said), BTreeMap::from([("t1.db".to_owned(), 12), ("t2.db".to_owned(), 7)]));
}
