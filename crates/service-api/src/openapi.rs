//! `GET /openapi.json`: the OpenAPI document of this endpoint, made of the table of routes and of the schemas in `wire`.
//!
//! It needs no authorization. It is the same for every host name, so that it reveals nothing of instances, not even
//! whether there is one.

use std::sync::LazyLock;

use axum::response::Response;
use http::StatusCode;
use model::Right;
use serde_json::{Map, Value, json};
use wire::service::{MAX_PAGE_ITEMS, ServiceApiVersion, schemas};

use crate::{
    reply,
    route::{self, Condition, ParameterKind, QueryParameter, Reply, RequestBody, Route},
};

/// The path of the document.
pub(crate) const PATH: &str = "/openapi.json";

/// The statuses of errors that any call can end with.
const ERRORS: [u16; 10] = [400, 401, 403, 404, 408, 413, 415, 429, 500, 503];

/// Returns the document. It never changes while the program runs.
pub(crate) async fn read() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    reply::json(StatusCode::OK, TEXT.clone())
}

/// Creates the document: OpenAPI 3.1.
pub fn document() -> Value {
    let version = ServiceApiVersion::all().last().map_or("", ServiceApiVersion::as_str);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Muster service operations",
            "version": version,
            "description": "The service API of Azure IoT Hub Device Provisioning Service, and additions of Muster. \
                Names of members and words match in any case in requests, unknown members are ignored, and null means absent.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"sas": []}, {"bearer": []}],
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "parameters": parameters(),
            "headers": headers(),
            "responses": responses(),
            "securitySchemes": {"sas": security_scheme(), "bearer": bearer_scheme()},
        },
    })
}

fn security_scheme() -> Value {
    json!({
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "A shared access signature by a key of an access policy of the instance: \
            SharedAccessSignature sr=HOST&sig=SIGNATURE&se=EXPIRY&skn=POLICY. SIGNATURE is the HMAC-SHA256 of the text of sr, \
            a line feed and the text of se, in base64 and percent-encoded; EXPIRY is in seconds since 1970.",
    })
}

fn bearer_scheme() -> Value {
    json!({
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of the OpenID provider that the service is configured for, if it is.",
    })
}

fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for route in route::all() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.as_str().to_ascii_lowercase()] = operation(route);
    }
    paths
}

fn operation(route: &Route) -> Value {
    let rights: Vec<&str> = route.rights.iter().map(|right| right.name()).collect();
    let first = route.path.split('/').nth(1).unwrap_or_default();
    let tag = if route.is_management() { "management" } else { first };
    let mut operation = json!({
        "operationId": route.name,
        "tags": [tag],
        "summary": route.summary,
        "description": format!("Needs the right {}.", rights.join(" or ")),
        "parameters": parameters_of(route),
        "responses": responses_of(route),
    });
    let body = match route.request {
        RequestBody::Ignored => return operation,
        RequestBody::Optional(schema) => (schema, false),
        RequestBody::Required(schema) => (schema, true),
    };
    operation["requestBody"] = json!({"required": body.1, "content": json_content(schema(body.0))});
    operation
}

fn parameters_of(route: &Route) -> Vec<Value> {
    let of_path = route
        .path_parameters()
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": path_schema(name)}));
    let mut parameters: Vec<Value> = of_path.collect();
    parameters.push(parameter("ApiVersion"));
    parameters.extend(route.query.iter().map(query_parameter));
    match route.condition {
        Condition::Ignored => {}
        Condition::Optional => parameters.push(parameter("IfMatch")),
        Condition::Required => parameters.push(parameter("RequiredIfMatch")),
    }
    if matches!(route.reply, Reply::Page(_)) {
        parameters.extend(["MaxItemCount", "Continuation"].map(parameter));
    }
    parameters
}

/// Returns the schema of a parameter in a path, by its name.
fn path_schema(name: &str) -> Value {
    match name {
        "registrationId" => schema("RegistrationId"),
        "enrollmentGroupId" => schema("EnrollmentGroupId"),
        "certificateName" => schema("CertificateName"),
        "thumbprint" => schema("Sha256Thumbprint"),
        "hubName" => schema("HubName"),
        "subscriptionId"
        | "resourceGroupName"
        | "provisioningServiceName"
        | "operationId"
        | "keyName"
        | "groupId"
        | "privateEndpointConnectionName" => {
            json!({"type": "string", "minLength": 1})
        }
        _ => {
            json!({"type": "string", "minLength": 1, "description": "The name of the hub, a slash (%2F), and the device ID."})
        }
    }
}

fn query_parameter(parameter: &QueryParameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Text => json!({"type": "string"}),
        ParameterKind::Time => json!({"type": "string", "format": "date-time"}),
        ParameterKind::Day => json!({"type": "string", "format": "date"}),
        ParameterKind::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
        ParameterKind::UpTo(most) => json!({"type": "integer", "minimum": 1, "maximum": most}),
        ParameterKind::OneOf(names) => json!({"type": "string", "enum": names()}),
    };
    let QueryParameter { name, description, .. } = parameter;
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn responses_of(route: &Route) -> Map<String, Value> {
    let (status, success) = match route.reply {
        Reply::Json(name) => ("200", success(schema(name), &["x-muster-warning"])),
        Reply::Page(name) => {
            let headers = ["x-muster-warning", "x-ms-item-type", "x-ms-max-item-count", "x-ms-continuation"];
            ("200", success(json!({"type": "array", "items": schema(name)}), &headers))
        }
        Reply::Empty => ("204", json!({"description": "Done."})),
        Reply::Created(name) => ("200", success(schema(name), &[])),
        Reply::Accepted => ("202", json!({"description": "The work goes on in the background."})),
    };
    let mut statuses = ERRORS.to_vec();
    if route.condition != Condition::Ignored {
        statuses.extend([409, 412]);
    } else if route.is_management() || route.rights.contains(&Right::ServiceConfig) && route.is_audited() {
        // The configuration manages the instance.
        statuses.push(409);
    }
    if route.continues {
        statuses.push(410);
    }
    statuses.sort_unstable();
    let mut responses = Map::from_iter([(status.to_owned(), success.clone())]);
    match route.reply {
        Reply::Created(_) => drop(responses.insert("201".to_owned(), success)),
        Reply::Accepted => {
            drop(responses.insert("204".to_owned(), json!({"description": "There was nothing to do."})))
        }
        Reply::Json(_) | Reply::Page(_) | Reply::Empty => {}
    }
    for status in statuses {
        let name = match (route.is_management(), status == 429 || status >= 500) {
            (true, _) => "ManagementError",
            (false, true) => "Busy",
            (false, false) => "Error",
        };
        responses.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
    }
    responses
}

fn success(schema: Value, headers: &[&str]) -> Value {
    let headers: Map<String, Value> = headers.iter().map(|name| ((*name).to_owned(), header(name))).collect();
    json!({"description": "Done.", "headers": headers, "content": json_content(schema)})
}

fn json_content(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn parameters() -> Value {
    let versions: Vec<&str> = ServiceApiVersion::all().map(ServiceApiVersion::as_str).collect();
    let if_match = "The etag of the record to change, or * for any. Without it, a write creates a record.";
    json!({
        "ApiVersion": {
            "name": "api-version", "in": "query", "required": true,
            "description": "The version of the API. Later ones are taken for the last known version before them.",
            "schema": {"type": "string", "enum": versions},
        },
        "IfMatch": if_match_parameter(if_match),
        "RequiredIfMatch": required(if_match_parameter("The etag of the record to change, or * for any.")),
        "MaxItemCount": {
            "name": "x-ms-max-item-count", "in": "header",
            "description": "The maximum number of items of the page.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_ITEMS},
        },
        "Continuation": {
            "name": "x-ms-continuation", "in": "header",
            "description": "The token that the page before returned.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        },
    })
}

fn required(mut parameter: Value) -> Value {
    parameter["required"] = json!(true);
    parameter
}

fn if_match_parameter(description: &str) -> Value {
    json!({
        "name": "If-Match", "in": "header", "required": false, "description": description,
        "schema": {"type": "string", "pattern": "^([*]|\"?[!#-~]{1,128}\"?)$"},
    })
}

fn headers() -> Value {
    let text = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    let number = |description: &str| json!({"description": description, "schema": {"type": "integer"}});
    json!({
        "x-muster-warning": text("Records that are damaged and therefore missing, or problems of what was stored."),
        "x-ms-continuation": text("The token of the next page; absent on the last page."),
        "x-ms-error-code": number("The error code of the body."),
        "x-ms-item-type": text("The kind of the items."),
        "x-ms-max-item-count": number("The maximum number of items of this page."),
        "www-authenticate": text("How to authenticate; only if bearer tokens are accepted."),
        "retry-after": number("Seconds after which the call may succeed."),
    })
}

fn responses() -> Value {
    let content = json_content(schema("ProvisioningServiceErrorDetails"));
    let code = header("x-ms-error-code");
    json!({
        "Error": {
            "description": "The call was refused.",
            "headers": {"x-ms-error-code": code, "www-authenticate": header("www-authenticate")},
            "content": content,
        },
        "ManagementError": {
            "description": "The call was refused, or the service could not answer it now.",
            "headers": {"x-ms-error-code": code},
            "content": json_content(schema("ErrorDetails")),
        },
        "Busy": {
            "description": "The service could not answer the call now.",
            "headers": {"x-ms-error-code": code, "retry-after": header("retry-after")},
            "content": content,
        },
    })
}
