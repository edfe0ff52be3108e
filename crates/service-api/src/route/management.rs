//! The routes of the management API: those of Azure's Resource Manager for provisioning services, and additions of Muster
//! below a resource.

use model::Right;

use crate::{certificates, management, policies, private_links};

use super::{
    Handler, ManagementHandler, ParameterKind, QueryParameter, Route, Verb,
    table::{CONFIGURE, SEE_CAS, delete, get, post, put},
};

/// The first segments of these paths.
pub(super) const FIRST_SEGMENTS: [&str; 2] = ["subscriptions", "providers"];

/// Reading instances as resources.
pub(crate) const READ: &[Right] = &[Right::InstanceRead, Right::ServiceConfig];
/// Creating, changing and deleting them.
pub(crate) const WRITE: &[Right] = &[Right::InstanceWrite];
/// Reading and changing their keys.
pub(crate) const KEYS: &[Right] = &[Right::InstanceKeys];

/// Makes a path below a subscription.
macro_rules! subscription {
    ($rest:literal) => {
        concat!("/subscriptions/{subscriptionId}", $rest)
    };
}

/// Makes a path below a resource.
macro_rules! resource {
    ($rest:literal) => {
        concat!(
            "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}",
            "/providers/Microsoft.Devices/provisioningServices/{provisioningServiceName}",
            $rest
        )
    };
}

/// Every route of the management API.
pub(super) static ROUTES: &[Route] = &[
    manage(Verb::Get, "/providers/Microsoft.Devices/operations", "Operations_List", READ, |call| {
        Box::pin(management::operations(call))
    })
    .summary("Lists the operations on provisioning services")
    .replies("OperationListResult"),
    manage(
        Verb::Get,
        subscription!("/providers/Microsoft.Devices/provisioningServices"),
        "IotDpsResource_ListBySubscription",
        READ,
        |call| Box::pin(management::list(call)),
    )
    .summary("Lists the instances of a subscription")
    .replies("ProvisioningServiceDescriptionListResult"),
    manage(
        Verb::Get,
        subscription!("/resourceGroups/{resourceGroupName}/providers/Microsoft.Devices/provisioningServices"),
        "IotDpsResource_ListByResourceGroup",
        READ,
        |call| Box::pin(management::list(call)),
    )
    .summary("Lists the instances of a resource group")
    .replies("ProvisioningServiceDescriptionListResult"),
    manage(
        Verb::Post,
        subscription!("/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability"),
        "IotDpsResource_CheckProvisioningServiceNameAvailability",
        WRITE,
        |call| Box::pin(management::check_name(call)),
    )
    .summary("Returns whether an instance can have a name")
    .takes("OperationInputs")
    .replies("NameAvailabilityInfo")
    .reads(),
    get(resource!(""), "IotDpsResource_Get", READ, |call| Box::pin(management::read(call)))
        .summary("Returns an instance without its keys")
        .replies("ProvisioningServiceDescription"),
    manage(Verb::Put, resource!(""), "IotDpsResource_CreateOrUpdate", WRITE, |call| {
        Box::pin(management::put(call))
    })
    .summary("Creates an instance, or changes one")
    .conditional()
    .takes("ProvisioningServiceDescription")
    .replies_created("ProvisioningServiceDescription"),
    Route::new(
        Verb::Patch,
        resource!(""),
        "IotDpsResource_Update",
        WRITE,
        Handler::Instance(|call| Box::pin(management::patch(call))),
    )
    .summary("Changes the tags of an instance")
    .takes("TagsResource")
    .replies("ProvisioningServiceDescription"),
    manage(Verb::Delete, resource!(""), "IotDpsResource_Delete", WRITE, |call| {
        Box::pin(management::delete(call))
    })
    .summary("Deletes an instance with everything that belongs to it")
    .accepts(),
    manage(Verb::Get, resource!("/deletion"), "IotDpsResource_PreviewDeletion", READ, |call| {
        Box::pin(management::preview_deletion(call))
    })
    .summary("Returns what a deletion of the instance would delete, or has not deleted yet")
    .replies("DeletionPreview"),
    manage(
        Verb::Get,
        resource!("/operationresults/{operationId}"),
        "IotDpsResource_GetOperationResult",
        READ,
        |call| Box::pin(management::operation_result(call)),
    )
    .summary("Returns the state of a creation or deletion")
    .query(&[QueryParameter {
        name: "asyncinfo",
        kind: ParameterKind::Text,
        description: "Ignored; clients send true.",
    }])
    .replies("AsyncOperationResult"),
    get(resource!("/skus"), "IotDpsResource_listValidSkus", READ, |call| Box::pin(management::skus(call)))
        .summary("Lists the pricing tiers")
        .replies("IotDpsSkuDefinitionListResult"),
    post(resource!("/listkeys"), "IotDpsResource_ListKeys", KEYS, |call| Box::pin(policies::list(call)))
        .summary("Returns the access policies with their keys")
        .replies("SharedAccessSignatureAuthorizationRuleListResult"),
    post(resource!("/keys/{keyName}/listkeys"), "IotDpsResource_ListKeysForKeyName", KEYS, |call| {
        Box::pin(policies::read(call))
    })
    .summary("Returns an access policy with its keys")
    .replies("AccessPolicy"),
    put(resource!("/keys/{keyName}"), "AccessPolicy_CreateOrUpdate", KEYS, |call| {
        Box::pin(policies::put(call))
    })
    .summary("Creates an access policy, or changes one")
    .takes("AccessPolicyChange")
    .replies("AccessPolicy"),
    post(resource!("/keys/{keyName}/regenerate"), "AccessPolicy_RegenerateKeys", KEYS, |call| {
        Box::pin(policies::regenerate(call))
    })
    .summary("Replaces keys of an access policy by new ones")
    .takes("KeySelection")
    .replies("AccessPolicy"),
    delete(resource!("/keys/{keyName}"), "AccessPolicy_Delete", KEYS, |call| {
        Box::pin(policies::delete(call))
    })
    .summary("Deletes an access policy, unless it is the last one"),
    get(resource!("/certificates"), "Resource_DpsCertificate_List", SEE_CAS, |call| {
        Box::pin(certificates::list(call))
    })
    .summary("Lists the CA certificates of an instance by name")
    .replies("CertificateListDescription"),
    get(resource!("/certificates/{certificateName}"), "Resource_DpsCertificate_Get", SEE_CAS, |call| {
        Box::pin(certificates::read(call))
    })
    .summary("Returns a CA certificate of an instance")
    .replies("CertificateResponse"),
    put(
        resource!("/certificates/{certificateName}"),
        "Resource_DpsCertificate_CreateOrUpdate",
        CONFIGURE,
        |call| Box::pin(certificates::put(call)),
    )
    .summary("Uploads a CA certificate of an instance, or replaces the one that If-Match names")
    .conditional()
    .takes("CertificateUpload")
    .replies("CertificateResponse"),
    delete(
        resource!("/certificates/{certificateName}"),
        "Resource_DpsCertificate_Delete",
        CONFIGURE,
        |call| Box::pin(certificates::delete(call)),
    )
    .summary("Deletes a CA certificate of an instance")
    .only_conditional(),
    post(
        resource!("/certificates/{certificateName}/generateVerificationCode"),
        "Resource_DpsCertificate_GenerateVerificationCode",
        CONFIGURE,
        |call| Box::pin(certificates::code(call)),
    )
    .summary("Generates a code for the proof of possession of a CA certificate's key")
    .only_conditional()
    .replies("CertificateResponse"),
    post(
        resource!("/certificates/{certificateName}/verify"),
        "Resource_DpsCertificate_VerifyCertificate",
        CONFIGURE,
        |call| Box::pin(certificates::verify(call)),
    )
    .summary("Verifies the proof of possession of a CA certificate's key")
    .only_conditional()
    .takes("CertificateProof")
    .replies("CertificateResponse"),
    get(resource!("/privateLinkResources"), "IotDpsResource_ListPrivateLinkResources", READ, |call| {
        Box::pin(private_links::list_resources(call))
    })
    .summary("Lists the private link resources, of which there are none")
    .replies("PrivateLinkResources"),
    get(
        resource!("/privateLinkResources/{groupId}"),
        "IotDpsResource_GetPrivateLinkResources",
        READ,
        |call| Box::pin(private_links::refuse(call)),
    )
    .summary("Fails, because there are no private links"),
    get(
        resource!("/privateEndpointConnections"),
        "IotDpsResource_ListPrivateEndpointConnections",
        READ,
        |call| Box::pin(private_links::list_connections(call)),
    )
    .summary("Lists the private endpoint connections, of which there are none")
    .replies("PrivateEndpointConnectionsList"),
    get(
        resource!("/privateEndpointConnections/{privateEndpointConnectionName}"),
        "IotDpsResource_GetPrivateEndpointConnection",
        READ,
        |call| Box::pin(private_links::refuse(call)),
    )
    .summary("Fails, because there are no private endpoints"),
    put(
        resource!("/privateEndpointConnections/{privateEndpointConnectionName}"),
        "IotDpsResource_CreateOrUpdatePrivateEndpointConnection",
        WRITE,
        |call| Box::pin(private_links::refuse_creation(call)),
    )
    .summary("Fails, because private endpoints are not supported"),
    delete(
        resource!("/privateEndpointConnections/{privateEndpointConnectionName}"),
        "IotDpsResource_DeletePrivateEndpointConnection",
        WRITE,
        |call| Box::pin(private_links::delete(call)),
    )
    .summary("Does nothing, because there are no private endpoints"),
];

const fn manage(
    verb: Verb,
    path: &'static str,
    name: &'static str,
    rights: &'static [Right],
    handler: ManagementHandler,
) -> Route {
    Route::new(verb, path, name, rights, Handler::Management(handler))
}
