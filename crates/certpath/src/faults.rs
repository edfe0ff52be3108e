//! The rules that a certificate breaks before any path is built, for warnings when it is stored. The functions are those of
//! the search, so a warning and the later refusal cannot differ.

use x509_parser::certificate::X509Certificate;

use crate::{
    PathError, Time,
    rules::{self, Source},
};

/// Returns the errors of a certificate, in DER, as a trust anchor: now, and when its validity begins.
pub fn faults_of_anchor(der: &[u8], now: Time) -> Vec<PathError> {
    faults(der, now, |parsed, at| rules::check_issuer(parsed, (Source::Stored, 0), at).err())
}

/// Returns the errors of a certificate, in DER, as a leaf: now, and when its validity begins.
pub fn faults_of_leaf(der: &[u8], now: Time) -> Vec<PathError> {
    faults(der, now, |parsed, at| rules::check_leaf(parsed, at).err())
}

/// An expired certificate is checked at a valid time too, so that the expiry does not hide that its key is weak.
fn faults(
    der: &[u8],
    now: Time,
    error_at: impl Fn(&X509Certificate<'_>, Time) -> Option<PathError>,
) -> Vec<PathError> {
    let Some(parsed) = rules::parse(der) else { return Vec::new() };
    let times = [now, Time::from(parsed.validity().not_before)];
    let mut faults: Vec<_> = times.into_iter().filter_map(|at| error_at(&parsed, at)).collect();
    faults.dedup();
    faults
}
