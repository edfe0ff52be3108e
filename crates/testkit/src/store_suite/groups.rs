//! Groups by the evidence of a device.

use model::Certificate;
use provisioning::ports::Change;

use super::world::{World, put_group};
use crate::{ca::Authority, sample};

pub(super) async fn symmetric_key(world: World) {
    let ca = Authority::root("Root").certificate();
    let listed = async || {
        let configuration = world.configuration().await;
        let groups = configuration.groups().with_symmetric_keys();
        groups.iter().map(|group| group.group_id.to_string()).collect::<Vec<_>>()
    };
    let put = |id: &str| put_group(sample::group(id));
    world.apply([put("b"), put("C"), put("a"), put_group(sample::signing_group("x", &ca, None))]).await;
    assert_eq!(listed().await, ["a", "b", "C"]);
    world.apply([put_group(sample::signing_group("B", &ca, None)), put("X")]).await;
    assert_eq!(listed().await, ["a", "C", "X"]);
    world.apply([Change::DeleteGroup(sample::group_id("c"))]).await;
    assert_eq!(listed().await, ["a", "X"]);
    let world = world.reopen().await;
    let configuration = world.configuration().await;
    let groups = configuration.groups().with_symmetric_keys();
    assert_eq!(*groups[0], sample::group("a"));
    assert_eq!(groups.len(), 2);
}

pub(super) async fn signing_as(world: World) {
    let root = Authority::root("Root");
    let [factory, other] =
        [root.intermediate("Factory"), root.intermediate("Other")].map(|ca| ca.certificate());
    let root = root.certificate();
    let renewed = Authority::root("Root").certificate();
    world
        .apply([
            put_group(sample::signing_group("b", &root, Some(&factory))),
            put_group(sample::signing_group("A", &factory, Some(&root))),
            put_group(sample::signing_group("c", &root, Some(&renewed))),
            put_group(sample::group("key")),
        ])
        .await;
    check(&world, &[&root], &["A", "b", "c"]).await;
    check(&world, &[&factory], &["A", "b"]).await;
    check(&world, &[&factory, &root, &renewed, &other], &["A", "b", "c"]).await;
    check(&world, &[&other], &[]).await;
    check(&world, &[], &[]).await;

    world.apply([put_group(sample::signing_group("a", &other, None)), put_group(sample::group("b"))]).await;
    check(&world, &[&root, &factory], &["c"]).await;
    check(&world, &[&other], &["a"]).await;
    world.apply([Change::DeleteGroup(sample::group_id("C"))]).await;
    check(&world, &[&root, &factory, &renewed], &[]).await;
    let world = world.reopen().await;
    check(&world, &[&root, &other], &["a"]).await;
}

async fn check(world: &World, subjects: &[&Certificate], expected: &[&str]) {
    let subjects: Vec<_> = subjects.iter().map(|certificate| certificate.subject()).collect();
    let groups = world.configuration().await.groups().signing_as(&subjects);
    let names: Vec<_> = groups.iter().map(|group| group.group_id.as_str()).collect();
    assert_eq!(names, expected);
}
