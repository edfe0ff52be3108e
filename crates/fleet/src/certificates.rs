//! The operator's calls about CAs: certificates, proof of possession, revocation lists, blocks, and what expires.

use http::Method;
use serde_json::{Value, json};
use wire::sas::encode_component;

use crate::operator::{OperatorError, Request, ServiceClient};

/// What is uploaded as a CA certificate.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// What enrollments will call it.
    pub name: &'a str,
    /// The certificate in PEM form.
    pub certificate: &'a str,
    /// Whether the operator vouches for it; without a word a known certificate stays what it is.
    pub is_verified: Option<bool>,
    /// Whether it takes the place of one that is there.
    pub replace: bool,
}

impl ServiceClient {
    /// All CA certificates, as the resource manager's API writes them.
    pub async fn ca_certificates(&mut self) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, "/certificates")).await
    }

    /// One CA certificate.
    pub async fn ca_certificate(&mut self, name: &str) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, &path(name, ""))).await
    }

    /// Uploads a CA certificate.
    pub async fn put_ca_certificate(&mut self, upload: Upload<'_>) -> Result<Value, OperatorError> {
        let mut body = json!({"certificate": upload.certificate});
        if let (Some(is_verified), Some(members)) = (upload.is_verified, body.as_object_mut()) {
            members.insert("isVerified".to_owned(), is_verified.into());
        }
        let (path, if_match) = (path(upload.name, ""), upload.replace.then_some("*"));
        let request = Request { if_match, body: Some(&body), ..Request::new(Method::PUT, &path) };
        self.operator().ask(request).await
    }

    /// Deletes a CA certificate.
    pub async fn delete_ca_certificate(&mut self, name: &str) -> Result<(), OperatorError> {
        let path = path(name, "");
        self.operator().ask(Request { if_match: Some("*"), ..Request::new(Method::DELETE, &path) }).await?;
        Ok(())
    }

    /// A new code for the proof that the key of a CA is held.
    pub async fn verification_code(&mut self, name: &str) -> Result<String, OperatorError> {
        let path = path(name, "/generateVerificationCode");
        let request = Request { if_match: Some("*"), ..Request::new(Method::POST, &path) };
        let answer = self.operator().ask(request).await?;
        let code = answer.pointer("/properties/verificationCode").and_then(Value::as_str);
        code.map(str::to_owned).ok_or_else(|| OperatorError::Malformed("no verificationCode".to_owned()))
    }

    /// Hands in the proof: a certificate for the code, as PEM or base64 of DER.
    pub async fn verify_ca_certificate(&mut self, name: &str, proof: &str) -> Result<Value, OperatorError> {
        let (path, body) = (path(name, "/verify"), json!({"certificate": proof}));
        let request = Request { if_match: Some("*"), body: Some(&body), ..Request::new(Method::POST, &path) };
        self.operator().ask(request).await
    }

    /// How the revocation lists of a CA are looked up, and what is known of them.
    pub async fn revocation(&mut self, name: &str) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, &path(name, "/revocation"))).await
    }

    /// Changes how the lists are looked up, or hands one in: `{policy?, fetch?, fetchedFrom?, list?}`.
    pub async fn put_revocation(&mut self, name: &str, change: &Value) -> Result<Value, OperatorError> {
        let path = path(name, "/revocation");
        self.operator().ask(Request { body: Some(change), ..Request::new(Method::PUT, &path) }).await
    }

    /// Drops all lists of a CA, or the one of this ID.
    pub async fn delete_revocation_lists(
        &mut self,
        name: &str,
        id: Option<&str>,
    ) -> Result<(), OperatorError> {
        let query = id.map(|id| format!("?list={}", encode_component(id))).unwrap_or_default();
        let path = path(name, &format!("/revocation{query}"));
        self.operator().ask(Request::new(Method::DELETE, &path)).await?;
        Ok(())
    }

    /// All blocked certificates.
    pub async fn blocks(&mut self) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, "/blockedCertificates")).await
    }

    /// Blocks a certificate: `{reason, certificate?}`.
    pub async fn block(&mut self, thumbprint: &str, block: &Value) -> Result<Value, OperatorError> {
        let path = format!("/blockedCertificates/{thumbprint}");
        self.operator().ask(Request { body: Some(block), ..Request::new(Method::PUT, &path) }).await
    }

    /// Lifts a block.
    pub async fn unblock(&mut self, thumbprint: &str) -> Result<(), OperatorError> {
        let path = format!("/blockedCertificates/{thumbprint}");
        self.operator().ask(Request::new(Method::DELETE, &path)).await?;
        Ok(())
    }

    /// Certificates that expire within some days: of CAs, groups and individual enrollments.
    pub async fn expiring(&mut self, days: u32) -> Result<Value, OperatorError> {
        let path = format!("/expiringCertificates?within={days}d");
        self.operator().ask(Request::new(Method::GET, &path)).await
    }
}

fn path(name: &str, what: &str) -> String {
    format!("/certificates/{}{what}", encode_component(name))
}
