//! The IP filter of an instance: which addresses may call its endpoints.

use std::{
    fmt,
    net::{AddrParseError, IpAddr},
};

use ipnetwork::{IpNetwork, IpNetworkError};
use serde::{Deserialize, Serialize};

use crate::{IpFilterName, instance::Instance};

/// An endpoint of an instance that the IP filter is for. The management API is none, so that operators cannot lock themselves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilteredApi {
    /// The device provisioning endpoint.
    Device,
    /// The service operations endpoint.
    Service,
}

/// Which endpoints a rule is for (`IpFilterTargetType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IpFilterTarget {
    /// Both.
    #[default]
    All,
    /// The service operations endpoint.
    ServiceApi,
    /// The device provisioning endpoint.
    DeviceApi,
}

impl IpFilterTarget {
    fn includes(self, api: FilteredApi) -> bool {
        match self {
            IpFilterTarget::All => true,
            IpFilterTarget::ServiceApi => api == FilteredApi::Service,
            IpFilterTarget::DeviceApi => api == FilteredApi::Device,
        }
    }
}

/// What becomes of a caller that a rule matches (`IpFilterActionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IpFilterAction {
    /// It is accepted, whatever later rules say.
    Accept,
    /// It is refused.
    Reject,
}

/// Whether public addresses may call the endpoints of an instance (`PublicNetworkAccess`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PublicNetworkAccess {
    /// They may.
    #[default]
    Enabled,
    /// Only loopback, private (RFC 1918, RFC 4193) and link-local addresses may: there are no private endpoints here, by which
    /// clients reach such an instance in Azure.
    Disabled,
}

impl PublicNetworkAccess {
    pub(crate) fn is_enabled(&self) -> bool {
        *self == PublicNetworkAccess::Enabled
    }
}

/// The addresses that a rule is for: one, or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpMask {
    /// One address.
    Address(IpAddr),
    /// A network. `0.0.0.0/0` stands for all addresses, of IPv6 too: Azure has only IPv4, and its documentation ends lists of
    /// rules with it to refuse all other callers.
    Network(IpNetwork),
}

/// Why a text is not an [`IpMask`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpMaskError {
    /// It is neither an address nor a network.
    #[error("must be an IP address, or a network such as 192.0.2.0/24 or 2001:db8::/32")]
    Syntax,
    /// It has an IPv4 address in the form of IPv6.
    #[error("must have IPv4 addresses in their own form, not in that of IPv6")]
    MappedAddress,
}

impl From<AddrParseError> for IpMaskError {
    fn from(_: AddrParseError) -> Self {
        IpMaskError::Syntax
    }
}

impl From<IpNetworkError> for IpMaskError {
    fn from(_: IpNetworkError) -> Self {
        IpMaskError::Syntax
    }
}

impl IpMask {
    /// Parses an address or a network.
    pub fn parse(text: &str) -> Result<Self, IpMaskError> {
        let mask = match text.split_once('/') {
            None => IpMask::Address(text.parse()?),
            Some((_, prefix)) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                IpMask::Network(text.parse()?)
            }
            Some(_) => return Err(IpMaskError::Syntax),
        };
        match mask.address() {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(IpMaskError::MappedAddress),
            _ => Ok(mask),
        }
    }

    fn address(self) -> IpAddr {
        match self {
            IpMask::Address(address) => address,
            IpMask::Network(network) => network.ip(),
        }
    }

    /// Whether it includes an address, which is not an IPv4 address in the form of IPv6.
    fn includes(self, address: IpAddr) -> bool {
        match self {
            IpMask::Address(own) => own == address,
            IpMask::Network(IpNetwork::V4(network)) if network.prefix() == 0 => true,
            IpMask::Network(network) => network.contains(address),
        }
    }
}

impl fmt::Display for IpMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpMask::Address(address) => address.fmt(f),
            IpMask::Network(network) => network.fmt(f),
        }
    }
}

impl TryFrom<String> for IpMask {
    type Error = IpMaskError;
    fn try_from(text: String) -> Result<Self, IpMaskError> {
        Self::parse(&text)
    }
}

impl From<IpMask> for String {
    fn from(mask: IpMask) -> String {
        mask.to_string()
    }
}

/// A rule of an IP filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpFilterRule {
    /// The name, for operators.
    pub name: IpFilterName,
    /// What becomes of callers that it matches.
    pub action: IpFilterAction,
    /// The addresses that it matches.
    #[serde(rename = "ip_mask")]
    pub mask: IpMask,
    /// The endpoints that it is for.
    #[serde(default)]
    pub target: IpFilterTarget,
}

/// The rules of an instance, in their order: the first one that matches a caller decides, and without any the caller is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<IpFilterRule>", into = "Vec<IpFilterRule>")]
pub struct IpFilter(Vec<IpFilterRule>);

/// Why rules are not an [`IpFilter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpFilterError {
    /// There are too many.
    #[error("must be at most {max} rules, not {0}", max = IpFilter::MAX_RULES)]
    Number(usize),
    /// Two have the same name.
    #[error("two rules have the name {0}")]
    Name(IpFilterName),
}

impl IpFilter {
    /// The most rules of an instance (limit of Azure), with each of which every caller is compared.
    pub const MAX_RULES: usize = 100;

    /// Returns the filter with these rules.
    pub fn new(rules: Vec<IpFilterRule>) -> Result<Self, IpFilterError> {
        if rules.len() > Self::MAX_RULES {
            return Err(IpFilterError::Number(rules.len()));
        }
        let mut rest = rules.iter();
        while let Some(rule) = rest.next() {
            if rest.clone().any(|other| other.name == rule.name) {
                return Err(IpFilterError::Name(rule.name.clone()));
            }
        }
        Ok(IpFilter(rules))
    }

    /// Returns the rules in their order.
    pub fn rules(&self) -> &[IpFilterRule] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the rule that decides about a caller, if one does.
    fn first_match(&self, address: IpAddr, api: FilteredApi) -> Option<&IpFilterRule> {
        self.0.iter().find(|rule| rule.target.includes(api) && rule.mask.includes(address))
    }
}

impl TryFrom<Vec<IpFilterRule>> for IpFilter {
    type Error = IpFilterError;
    fn try_from(rules: Vec<IpFilterRule>) -> Result<Self, IpFilterError> {
        Self::new(rules)
    }
}

impl From<IpFilter> for Vec<IpFilterRule> {
    fn from(filter: IpFilter) -> Self {
        filter.0
    }
}

/// Why a caller is refused because of its address. For operators: the caller gets no hint, as in Azure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// A rule rejects it.
    #[error("the IP filter rule {rule} rejects {address}")]
    Rule {
        /// The name of the rule.
        rule: IpFilterName,
        /// The address of the caller.
        address: IpAddr,
    },
    /// Public addresses may not call the instance.
    #[error("public network access is disabled, and {0} is not a private address")]
    Public(IpAddr),
}

impl Instance {
    /// Returns why a caller of this address may not use an endpoint of the instance, if so. Both settings must admit it.
    pub fn address_refusal(&self, address: IpAddr, api: FilteredApi) -> Option<AddressRefusal> {
        let address = address.to_canonical();
        if !self.public_network_access.is_enabled() && !is_private(address) {
            return Some(AddressRefusal::Public(address));
        }
        let rule = self.ip_filter.first_match(address, api)?;
        let rejects = rule.action == IpFilterAction::Reject;
        rejects.then(|| AddressRefusal::Rule { rule: rule.name.clone(), address })
    }
}

/// Whether an address cannot come from the public network.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests;
