//! kube-rs against a served cluster: creates, watches, patches, applies, deletes, elects a leader.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::{reflector, watcher, WatchStreamExt},
    Api, Client,
};
use serde_json::{from_value, json};

const NAMESPACE: &str = "interop-rust";

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::try_default().await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;

    tokio::time::timeout(Duration::from_secs(60), async {
        objects(client.clone()).await.context("objects")?;
        informer(client.clone()).await.context("informer")?;
        apply(client.clone()).await.context("apply")?;
        leader(client.clone()).await.context("leader")
    })
    .await??;
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    println!("OK");
    Ok(())
}

fn config_map(name: &str, value: &str) -> Result<ConfigMap> {
    Ok(from_value(json!({
        "metadata": {"name": name, "labels": {"interop": "yes"}}, "data": {"key": value},
    }))?)
}

async fn objects(client: Client) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let listed = maps.list(&ListParams::default()).await?;
    let since = listed.metadata.resource_version.unwrap_or_default();
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name, "1")?).await?;
    }
    let page = maps.list(&ListParams::default().labels("interop=yes").limit(2)).await?;
    ensure!(page.items.len() == 2 && page.metadata.continue_.is_some(), "a page of two");

    let merge = Patch::Merge(json!({"data": {"key": "2"}}));
    let patched = maps.patch("a", &PatchParams::default(), &merge).await?;
    ensure!(patched.data.unwrap()["key"] == "2", "merge patch");

    let mut stale = maps.get("a").await?;
    stale.metadata.resource_version = Some("1".into());
    match maps.replace("a", &PostParams::default(), &stale).await {
        Err(kube::Error::Api(status)) => ensure!(status.code == 409, "conflict: {status:?}"),
        other => bail!("a stale update: {other:?}"),
    }
    maps.delete("b", &DeleteParams::default()).await?;

    let mut seen = Vec::new();
    let ours = WatchParams::default().labels("interop=yes");
    let mut events = maps.watch(&ours, &since).await?.boxed();
    while seen.len() < 5 {
        match events.try_next().await?.context("the watch ended")? {
            WatchEvent::Added(o) => seen.push(format!("+{}", o.metadata.name.unwrap())),
            WatchEvent::Modified(o) => seen.push(format!("~{}", o.metadata.name.unwrap())),
            WatchEvent::Deleted(o) => seen.push(format!("-{}", o.metadata.name.unwrap())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => bail!("watch: {status:?}"),
        }
    }
    ensure!(seen == ["+a", "+b", "+c", "~a", "-b"], "events: {seen:?}");
    Ok(())
}

async fn informer(client: Client) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let (store, writer) = reflector::store();
    let stream = reflector(writer, watcher(maps.clone(), watcher::Config::default()));
    let task = tokio::spawn(stream.applied_objects().for_each(|_| async {}));
    store.wait_until_ready().await?;
    maps.create(&PostParams::default(), &config_map("late", "1")?).await?;
    let key = reflector::ObjectRef::new("late").within(NAMESPACE);
    while store.get(&key).is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    maps.delete("late", &DeleteParams::default()).await?;
    while store.get(&key).is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    task.abort();
    Ok(())
}

async fn apply(client: Client) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client, NAMESPACE);
    let wanted = |replicas: i32| {
        Patch::Apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
                },
            },
        }))
    };
    deployments.patch("web", &PatchParams::apply("one"), &wanted(1)).await?;
    match deployments.patch("web", &PatchParams::apply("two"), &wanted(2)).await {
        Err(kube::Error::Api(status)) => ensure!(status.code == 409, "conflict: {status:?}"),
        other => bail!("two appliers: {other:?}"),
    }
    let forced = deployments.patch("web", &PatchParams::apply("two").force(), &wanted(2)).await?;
    ensure!(forced.spec.replicas == Some(2), "forced");
    let strategic = Patch::Strategic(json!({
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}},
    }));
    let patched = deployments.patch("web", &PatchParams::default(), &strategic).await?;
    let containers = patched.spec.template.spec.unwrap().containers;
    ensure!(containers.len() == 2, "strategic merge patch");
    Ok(())
}

/// kube-rs has no elector of its own: two candidates for a Lease, by optimistic updates.
async fn leader(client: Client) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let claim = |holder: &str| -> Result<Lease> {
        Ok(from_value(json!({
            "metadata": {"name": "leader"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
        }))?)
    };
    leases.create(&PostParams::default(), &claim("one")?).await?;
    match leases.create(&PostParams::default(), &claim("two")?).await {
        Err(kube::Error::Api(status)) => ensure!(status.code == 409, "taken: {status:?}"),
        other => bail!("two leaders: {other:?}"),
    }
    let mut lease = leases.get("leader").await?;
    lease.spec.as_mut().unwrap().holder_identity = Some("two".into());
    let taken = leases.replace("leader", &PostParams::default(), &lease).await?;
    ensure!(taken.spec.unwrap().holder_identity.as_deref() == Some("two"), "taken over");
    ensure!(leases.replace("leader", &PostParams::default(), &lease).await.is_err(), "lost race");
    Ok(())
}
