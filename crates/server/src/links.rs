//! Checks at the start that linked hubs outside of this process are reachable and that their keys have the required rights.
//! Failures are only logged; devices of other hubs are served meanwhile.

use std::sync::Arc;

use model::{HubEndpoint, HubName, Instance};
use provisioning::ports::{HubConnector, HubError, HubRight, Hubs};
use tokio::task::JoinSet;

/// Checks each link once, in the background.
pub(crate) fn check(hubs: &dyn Hubs, instances: Vec<Arc<Instance>>) -> JoinSet<()> {
    let links = instances.iter().flat_map(|instance| &instance.linked_hubs);
    let by_key = links.filter(|hub| hub.endpoint != HubEndpoint::Embedded);
    by_key.filter_map(|hub| Some(check_one(hub.name.clone(), hubs.connector(hub)?))).collect()
}

async fn check_one(hub: HubName, connector: Arc<dyn HubConnector>) {
    match verdict(connector.lacking().await) {
        Ok(()) => {
            tracing::info!(hub.name = %hub, "the linked hub is reachable, and its key has the required rights")
        }
        Err(problem) => {
            tracing::warn!(hub.name = %hub, problem, "devices cannot be assigned to the linked hub")
        }
    }
}

/// Returns the problem of a link, and how to solve it.
fn verdict(lacking: Result<Vec<HubRight>, HubError>) -> Result<(), String> {
    match lacking {
        Ok(lacking) if lacking.is_empty() => Ok(()),
        Ok(lacking) => {
            let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
            Err(format!(
                "the key lacks {}; link the hub with a policy that has RegistryRead, RegistryWrite and ServiceConnect",
                lacking.join(", ")
            ))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_problem_names_the_missing_rights() {
        assert_eq!(verdict(Ok(vec![])), Ok(()));
        let problem = verdict(Ok(vec![HubRight::RegistryWrite, HubRight::ServiceConnect])).unwrap_err();
        assert!(problem.starts_with("the key lacks RegistryWrite, ServiceConnect;"), "{problem}");
        let problem = verdict(Err(HubError::Unavailable("hub: no answer".into()))).unwrap_err();
        assert_eq!(problem, "the hub is unavailable: hub: no answer");
    }
}
