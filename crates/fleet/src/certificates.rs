//! Calls of the service API about CA certificates: proof of possession, revocation lists, blocks, and expiry.

use http::Method;
use serde_json::{Value, json};
use wire::sas::encode_component;

use crate::operator::{OperatorError, Request, ServiceClient};

/// A CA certificate to upload.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The name by which enrollments refer to the certificate.
    pub name: &'a str,
    /// The certificate in PEM.
    pub certificate: &'a str,
    /// Whether to mark the certificate as verified without proof of possession; `None` keeps the stored value.
    pub is_verified: Option<bool>,
    /// The etag of the certificate to replace, or `*` for any; `None` to create one.
    pub if_match: Option<&'a str>,
}

impl ServiceClient {
    /// Lists the CA certificates, in the form of the Resource Manager API.
    pub async fn ca_certificates(&mut self) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, "/certificates")).await
    }

    /// Reads a CA certificate.
    pub async fn ca_certificate(&mut self, name: &str) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &path(name, ""))).await
    }

    /// Uploads a CA certificate.
    pub async fn put_ca_certificate(&mut self, upload: Upload<'_>) -> Result<Value, OperatorError> {
        let mut body = json!({"certificate": upload.certificate});
        if let (Some(is_verified), Some(members)) = (upload.is_verified, body.as_object_mut()) {
            members.insert("isVerified".to_owned(), is_verified.into());
        }
        let path = path(upload.name, "");
        let request =
            Request { if_match: upload.if_match, body: Some(&body), ..Request::new(Method::PUT, &path) };
        self.operator().send(request).await
    }

    /// Deletes a CA certificate.
    pub async fn delete_ca_certificate(&mut self, name: &str) -> Result<(), OperatorError> {
        let path = path(name, "");
        self.operator().send(Request { if_match: Some("*"), ..Request::new(Method::DELETE, &path) }).await?;
        Ok(())
    }

    /// Requests a new verification code for the proof of possession of a CA's key.
    pub async fn verification_code(&mut self, name: &str) -> Result<String, OperatorError> {
        let path = path(name, "/generateVerificationCode");
        let request = Request { if_match: Some("*"), ..Request::new(Method::POST, &path) };
        let reply = self.operator().send(request).await?;
        let code = reply.pointer("/properties/verificationCode").and_then(Value::as_str);
        code.map(str::to_owned).ok_or_else(|| OperatorError::Malformed("no verificationCode".to_owned()))
    }

    /// Sends the proof of possession: a certificate for the verification code, as PEM or base64 of DER.
    pub async fn verify_ca_certificate(&mut self, name: &str, proof: &str) -> Result<Value, OperatorError> {
        let (path, body) = (path(name, "/verify"), json!({"certificate": proof}));
        let request = Request { if_match: Some("*"), body: Some(&body), ..Request::new(Method::POST, &path) };
        self.operator().send(request).await
    }

    /// Reads the revocation settings of a CA certificate, and the state of its revocation lists.
    pub async fn revocation(&mut self, name: &str) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &path(name, "/revocation"))).await
    }

    /// Changes the revocation settings of a CA certificate, or uploads a list: `{policy?, fetch?, fetchedFrom?,
    /// list?}`.
    pub async fn put_revocation(&mut self, name: &str, change: &Value) -> Result<Value, OperatorError> {
        let path = path(name, "/revocation");
        self.operator().send(Request { body: Some(change), ..Request::new(Method::PUT, &path) }).await
    }

    /// Deletes the revocation list `id` of a CA certificate, or all of its lists if `id` is `None`.
    pub async fn delete_revocation_lists(
        &mut self,
        name: &str,
        id: Option<&str>,
    ) -> Result<(), OperatorError> {
        let query = id.map(|id| format!("?list={}", encode_component(id))).unwrap_or_default();
        let path = path(name, &format!("/revocation{query}"));
        self.operator().send(Request::new(Method::DELETE, &path)).await?;
        Ok(())
    }

    /// Lists the blocked certificates.
    pub async fn blocks(&mut self) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, "/blockedCertificates")).await
    }

    /// Blocks a certificate by its thumbprint; `block` is `{reason, certificate?, key?}`.
    pub async fn block(&mut self, thumbprint: &str, block: &Value) -> Result<Value, OperatorError> {
        let path = format!("/blockedCertificates/{thumbprint}");
        self.operator().send(Request { body: Some(block), ..Request::new(Method::PUT, &path) }).await
    }

    /// Removes the block of a certificate.
    pub async fn unblock(&mut self, thumbprint: &str) -> Result<(), OperatorError> {
        let path = format!("/blockedCertificates/{thumbprint}");
        self.operator().send(Request::new(Method::DELETE, &path)).await?;
        Ok(())
    }

    /// Lists the certificates of CAs, groups and individual enrollments that expire within `days` days.
    pub async fn expiring(&mut self, days: u32) -> Result<Value, OperatorError> {
        let path = format!("/expiringCertificates?within={days}d");
        self.operator().send(Request::new(Method::GET, &path)).await
    }
}

fn path(name: &str, rest: &str) -> String {
    format!("/certificates/{}{rest}", encode_component(name))
}
