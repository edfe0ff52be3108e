//! The client certificates that the handshake accepts, and what the application sees of them.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
};

use axum::{Extension, Router, routing::get};
use net::{
    CancellationToken, ConnectionLimiter, Limits, Peer, Refused, serve_https,
    tls::{Identity, IdentityError, ServerOptions, TlsError},
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use rustls::{
    AlertDescription, ClientConfig,
    HandshakeKind::{self, Full, Resumed},
    RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pki::{Credentials, Pki, connect, device, listen};

/// Made with `openssl x509 -req -signkey`, which issues version 1.
const V1_CERTIFICATE: &str = include_str!("fixtures/v1-certificate.pem");
const V1_KEY: &str = include_str!("fixtures/v1-key.pem");

/// Starts a server that answers with a description of the client's chain.
fn start(tls: Arc<ServerConfig>) -> SocketAddr {
    async fn describe(Extension(peer): Extension<Peer>) -> String {
        summary(&peer.certificates)
    }
    let (listener, addr) = listen();
    let router = Router::new().route("/", get(describe));
    tokio::spawn(serve_https(
        listener,
        tls,
        router,
        ConnectionLimiter::new(Limits::default()),
        CancellationToken::new(),
    ));
    addr
}

fn summary(chain: &[CertificateDer<'_>]) -> String {
    let checksum =
        |certificate: &CertificateDer<'_>| certificate.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    format!("{:?}", chain.iter().map(checksum).collect::<Vec<_>>())
}

/// Returns the answer to a client with this configuration, and the kind of the handshake.
async fn ask(addr: SocketAddr, config: Arc<ClientConfig>) -> io::Result<(String, HandshakeKind)> {
    let mut stream = connect(addr, config).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.rsplit("\r\n\r\n").next().unwrap().to_owned();
    Ok((body, stream.get_ref().1.handshake_kind().unwrap()))
}

/// Returns a client whose chain and key need not belong together.
fn client(
    pki: &Pki,
    provider: CryptoProvider,
    version: &'static SupportedProtocolVersion,
    credentials: Option<&Credentials>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap()).unwrap();
    let key = credentials.map(|credentials| {
        let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        Arc::new(CertifiedKey::new(credentials.chain(), key))
    });
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    }
}

/// Sends a request with TLS 1.2 and with TLS 1.3.
async fn ask_both(pki: &Pki, addr: SocketAddr, credentials: Option<&Credentials>) -> Vec<io::Result<String>> {
    let mut answers = Vec::new();
    for version in [&TLS12, &TLS13] {
        let config = client(pki, aws_lc_rs::default_provider(), version, credentials);
        answers.push(ask(addr, Arc::new(config)).await.map(|(answer, _)| answer));
    }
    answers
}

#[tokio::test]
async fn any_certificate_whose_key_is_held_is_accepted() {
    let pki = Pki::new();
    let addr = start(pki.server());
    for (what, credentials) in unusual_certificates(&pki) {
        for answer in ask_both(&pki, addr, Some(&credentials)).await {
            assert_eq!(answer.unwrap(), summary(&credentials.chain()), "{what}");
        }
        let (answer, _) = ask(addr, pki.client(Some(&credentials.identity()))).await.unwrap();
        assert_eq!(answer, summary(&credentials.chain()), "{what} with our own client configuration");
    }
}

fn unusual_certificates(pki: &Pki) -> Vec<(&'static str, Credentials)> {
    let p256 = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = device();
        change(&mut params);
        pki.credentials(params, &PKCS_ECDSA_P256_SHA256)
    };
    vec![
        ("P-256", pki.device()),
        ("P-384", pki.credentials(device(), &rcgen::PKCS_ECDSA_P384_SHA384)),
        ("P-521", pki.credentials(device(), &rcgen::PKCS_ECDSA_P521_SHA512)),
        ("Ed25519", pki.credentials(device(), &PKCS_ED25519)),
        ("RSA", pki.credentials(device(), &rcgen::PKCS_RSA_SHA256)),
        ("expired", p256(&|params| params.not_after = rcgen::date_time_ymd(2001, 1, 2))),
        (
            "serverAuth only",
            p256(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("a CA", p256(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        (
            "unknown critical extension",
            p256(&|params| {
                let mut unknown =
                    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
                unknown.set_criticality(true);
                params.custom_extensions.push(unknown);
            }),
        ),
        ("of another CA", Pki::new().device()),
        ("X.509 v1", Credentials { chain_pem: V1_CERTIFICATE.to_owned(), key_pem: V1_KEY.to_owned() }),
    ]
}

#[tokio::test]
async fn a_client_without_a_certificate_is_accepted() {
    let pki = Pki::new();
    let addr = start(pki.server());
    for answer in ask_both(&pki, addr, None).await {
        assert_eq!(answer.unwrap(), "[]");
    }
}

#[tokio::test]
async fn aes_128_is_chosen_if_the_client_offers_it() {
    let pki = Pki::new();
    let addr = start(pki.server());
    let negotiated = async |without: &str, version| {
        let mut provider = aws_lc_rs::default_provider(); // AES-256 first
        provider.cipher_suites.retain(|suite| !format!("{:?}", suite.suite()).contains(without));
        let stream = connect(addr, Arc::new(client(&pki, provider, version, None))).await.unwrap();
        format!("{:?}", stream.get_ref().1.negotiated_cipher_suite().unwrap().suite())
    };
    for (version, name) in [(&TLS12, "TLS_ECDHE_ECDSA_WITH_"), (&TLS13, "TLS13_")] {
        assert_eq!(negotiated("no such", version).await, format!("{name}AES_128_GCM_SHA256"));
        assert_eq!(negotiated("AES_128", version).await, format!("{name}AES_256_GCM_SHA384"));
        assert_eq!(negotiated("AES", version).await, format!("{name}CHACHA20_POLY1305_SHA256"));
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let pki = Pki::new();
    let addr = start(pki.server());
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let mut stolen = pki.credentials(device(), algorithm);
        stolen.key_pem = pki.credentials(device(), algorithm).key_pem;
        for answer in ask_both(&pki, addr, Some(&stolen)).await {
            assert!(answer.is_err(), "{algorithm:?}: {answer:?}");
        }
    }
    let garbage = "-----BEGIN CERTIFICATE-----\nMAMBAgM=\n-----END CERTIFICATE-----\n".to_owned();
    let garbage = Credentials { chain_pem: garbage, key_pem: pki.device().key_pem };
    for answer in ask_both(&pki, addr, Some(&garbage)).await {
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_only_with_tickets_and_keep_their_certificates() {
    let pki = Pki::new();
    let device = pki.device();
    let server = |session_tickets| {
        let options = ServerOptions { session_tickets, ..ServerOptions::default() };
        let identities = net::tls::Identities::new(vec![server(&pki, &PKCS_ECDSA_P256_SHA256)]).unwrap();
        start(net::tls::server_config_with(&identities, options).unwrap())
    };
    let (with, without) = (server(true), server(false));
    let cases = [&TLS12, &TLS13].map(|version| [(version, with, Resumed), (version, without, Full)]);
    for (version, addr, then) in cases.into_iter().flatten() {
        let mut config = client(&pki, aws_lc_rs::default_provider(), version, Some(&device));
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        for expected in [Full, then] {
            let (answer, kind) = ask(addr, Arc::clone(&config)).await.unwrap();
            assert_eq!((answer, kind), (summary(&device.chain()), expected), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_chain_of_too_many_certificates_is_refused() {
    let pki = Pki::new();
    let addr = start(pki.server());
    let mut device = pki.device();
    let other = device.chain_pem.clone();
    for (pairs, accepted) in [(5, true), (6, false)] {
        device.chain_pem = other.repeat(pairs);
        for answer in ask_both(&pki, addr, Some(&device)).await {
            assert_eq!(answer.is_ok(), accepted, "{} certificates", 2 * pairs);
        }
    }
}

#[tokio::test]
async fn the_first_usable_server_certificate_is_chosen() {
    let pki = Pki::new();
    let identities = vec![server(&pki, &PKCS_ED25519), server(&pki, &PKCS_ECDSA_P256_SHA256)];
    let chains: Vec<_> = identities.iter().map(|identity| identity.chain()[0].clone()).collect();
    let addr = start(net::tls::server_config(identities).unwrap());
    let knows_ecdsa_only = {
        let mut provider = aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.mapping =
            &provider.signature_verification_algorithms.mapping[..2];
        provider
    };
    for (provider, expected) in [(aws_lc_rs::default_provider(), &chains[0]), (knows_ecdsa_only, &chains[1])]
    {
        let stream = connect(addr, client(&pki, provider, &TLS13, None).into()).await.unwrap();
        assert_eq!(&stream.get_ref().1.peer_certificates().unwrap()[0], expected);
    }
}

/// Returns a server's identity; its chain ends with the root.
fn server(pki: &Pki, algorithm: &'static rcgen::SignatureAlgorithm) -> Identity {
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    pki.credentials(params, algorithm).identity()
}

#[tokio::test]
async fn the_root_is_not_sent() {
    let pki = Pki::new();
    let identity = server(&pki, &PKCS_ECDSA_P256_SHA256);
    assert_eq!(identity.chain().len(), 2);
    let addr = start(net::tls::server_config(vec![identity]).unwrap());
    let stream = connect(addr, pki.client(None)).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap().len(), 1);
}

/// Records the signature schemes that the server requests.
#[derive(Debug)]
struct Asked(mpsc::Sender<Vec<SignatureScheme>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.send(schemes.to_vec()).unwrap();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Exactly the documented schemes are offered, even if the provider supports more.
#[tokio::test]
async fn the_documented_signature_schemes_are_offered() {
    let page = include_str!("../../../../docs/compatibility.md");
    let line = page.lines().find_map(|line| line.strip_prefix("| signatures of clients | ")).unwrap();
    let mut documented: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    documented.sort_unstable();
    // No handshake of TLS 1.3 is signed with PKCS#1 v1.5, so that rustls as a client leaves it out there.
    let of_tls13: Vec<&str> = documented.iter().copied().filter(|it| !it.contains("pkcs1")).collect();
    let pki = Pki::new();
    let addr = start(pki.server());
    let (sender, asked) = mpsc::channel();
    for (version, documented) in [(&TLS12, &documented), (&TLS13, &of_tls13)] {
        let mut config = client(&pki, aws_lc_rs::default_provider(), version, None);
        config.client_auth_cert_resolver = Arc::new(Asked(sender.clone()));
        connect(addr, Arc::new(config)).await.unwrap();
        let schemes = asked.try_recv().unwrap();
        let mut offered: Vec<String> = schemes.iter().map(|it| format!("{it:?}").to_lowercase()).collect();
        offered.sort_unstable();
        assert_eq!(offered, *documented, "{version:?}");
    }
}

/// Clients that trust no CA or support little: the alert that they get, and the reason that is counted.
#[tokio::test]
async fn each_failed_handshake_is_counted_by_its_reason_and_answered_as_rfc_8446_says() {
    use AlertDescription::{
        BadCertificate, CertificateUnknown, DecryptError, HandshakeFailure, ProtocolVersion,
    };
    let pki = Pki::new();
    let (listener, addr) = listen();
    let options = ServerOptions { tls12_only: true, ..ServerOptions::default() };
    let identities = net::tls::Identities::new(vec![server(&pki, &PKCS_ECDSA_P256_SHA256)]).unwrap();
    let tls12 = net::tls::server_config_with(&identities, options).unwrap();
    let limiter = ConnectionLimiter::new(Limits::default());
    let token = CancellationToken::new();
    tokio::spawn(serve_https(listener, tls12, Router::new(), limiter.clone(), token.clone()));
    let (listener, both) = listen();
    tokio::spawn(serve_https(listener, pki.server(), Router::new(), limiter.clone(), token));

    let with = |change: &dyn Fn(&mut CryptoProvider)| {
        let mut provider = aws_lc_rs::default_provider();
        change(&mut provider);
        provider
    };
    let usual = aws_lc_rs::default_provider;
    let rsa_suites = with(&|it| it.cipher_suites.retain(|it| format!("{:?}", it.suite()).contains("_RSA_")));
    let rsa_schemes = with(&|it| {
        let schemes = &it.signature_verification_algorithms.mapping;
        let rsa: Vec<_> =
            schemes.iter().filter(|it| format!("{:?}", it.0).starts_with("RSA")).copied().collect();
        it.signature_verification_algorithms.mapping = Vec::leak(rsa);
    });
    let no_group = with(&|it| it.kx_groups = vec![aws_lc_rs::kx_group::MLKEM768]);
    let mut stolen = pki.device();
    stolen.key_pem = pki.device().key_pem;
    let mut long = pki.device();
    long.chain_pem = long.chain_pem.repeat(6);
    let garbage = "-----BEGIN CERTIFICATE-----\nMAMBAgM=\n-----END CERTIFICATE-----\n".to_owned();
    let garbage = Credentials { chain_pem: garbage, key_pem: pki.device().key_pem };
    let stranger = Pki::new();
    let cases = [
        (addr, client(&pki, usual(), &TLS13, None), Refused::NoCommonVersion, Some(ProtocolVersion)),
        (both, client(&pki, rsa_suites, &TLS12, None), Refused::NoCommonSuite, Some(HandshakeFailure)),
        (both, client(&pki, rsa_schemes, &TLS13, None), Refused::NoCommonSignature, Some(HandshakeFailure)),
        (both, client(&pki, no_group, &TLS13, None), Refused::NoCommonSuite, Some(HandshakeFailure)),
        (both, client(&pki, usual(), &TLS12, Some(&stolen)), Refused::BadSignature, Some(DecryptError)),
        (both, client(&pki, usual(), &TLS13, Some(&long)), Refused::ChainTooLong, Some(CertificateUnknown)),
        (both, client(&pki, usual(), &TLS12, Some(&garbage)), Refused::BadCertificate, Some(BadCertificate)),
        (both, client(&stranger, usual(), &TLS13, None), Refused::ClientAlert, None),
    ];
    for (addr, config, reason, alert) in cases {
        let before = limiter.refused(reason);
        let error = ask(addr, Arc::new(config)).await.unwrap_err();
        if let Some(alert) = alert {
            assert_eq!(alert_in(&error), Some(alert), "{reason:?}: {error:?}");
        }
        for _ in 0..100 {
            if limiter.refused(reason) == before {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        assert_eq!(limiter.refused(reason), before + 1, "{reason:?}: {error:?}");
    }
}

fn alert_in(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn the_client_checks_the_server() {
    let pki = Pki::new();
    let addr = start(Pki::new().server());
    let refused = ask(addr, pki.client(None)).await.unwrap_err();
    assert!(refused.to_string().starts_with("invalid peer certificate"), "{refused}");
}

#[test]
fn identities_are_checked() {
    let pki = Pki::new();
    let (one, other) = (pki.device(), pki.device());
    let check = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes());
    assert!(check(&one.chain_pem, &one.key_pem).is_ok());
    assert!(matches!(check(&one.chain_pem, &other.key_pem), Err(IdentityError::Mismatch)));
    assert!(matches!(check("", &one.key_pem), Err(IdentityError::Chain(_))));
    assert!(matches!(check(&one.chain_pem, &one.chain_pem), Err(IdentityError::Key(_))));
    let missing =
        Identity::from_pem_files("/nonexistent/chain.pem".as_ref(), "/nonexistent/key.pem".as_ref());
    assert!(missing.unwrap_err().to_string().starts_with("/nonexistent/chain.pem: "));
    assert!(matches!(net::tls::server_config(Vec::new()), Err(TlsError::NoIdentity)));
    assert!(matches!(net::tls::client_config(b"no PEM", None), Err(TlsError::Ca(_))));
}

#[test]
fn keys_are_not_printed() {
    let key = KeyPair::generate().unwrap();
    let certificate = device().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let identity = Identity::from_der(vec![certificate.der().clone()], key).unwrap();
    assert_eq!(format!("{identity:?}"), "Identity { certificates: 1, .. }");
}

#[tokio::test]
async fn a_chain_of_too_many_bytes_is_refused() {
    let pki = Pki::new();
    let addr = start(pki.server());
    for (bytes, accepted) in [(14_000, true), (17_000, false)] {
        let mut params = device();
        let filler = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 2], vec![0; bytes]);
        params.custom_extensions.push(filler);
        let device = pki.credentials(params, &PKCS_ECDSA_P256_SHA256);
        for answer in ask_both(&pki, addr, Some(&device)).await {
            assert_eq!(answer.is_ok(), accepted, "{bytes} bytes: {answer:?}");
        }
    }
}
