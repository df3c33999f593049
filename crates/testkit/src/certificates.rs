//! A certificate authority for one test, and server certificates that are right, or wrong in one way.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::Scratch;

/// A certificate authority that nothing but the test trusts.
#[derive(Debug)]
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: Scratch,
}

/// A server's certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The certificate, leaf only.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

/// Where a [`ServerCertificate`] was written.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM, readable by its owner only.
    pub key: PathBuf,
}

impl TestCa {
    /// A new authority with a key of its own.
    pub fn new() -> Self {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, "Portcullis test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a self-signed CA");
        let files = Scratch::new();
        files.write("ca.pem", issuer.pem());
        Self { issuer, files }
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A file with [`TestCa::pem`]; it lives as long as the authority.
    pub fn path(&self) -> PathBuf {
        self.files.join("ca.pem")
    }

    /// Good for `localhost` and `127.0.0.1`, until 2090.
    pub fn localhost(&self) -> ServerCertificate {
        self.valid_for(&["localhost", "127.0.0.1", "::1"])
    }

    /// Good for these host names and addresses, until 2090.
    pub fn valid_for(&self, hosts: &[&str]) -> ServerCertificate {
        self.sign(params(hosts))
    }

    /// For localhost, but over since 2021-01-01.
    pub fn expired(&self) -> ServerCertificate {
        let mut params = params(&["localhost", "127.0.0.1", "::1"]);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    /// For localhost, but not before 2089-01-01.
    pub fn not_yet_valid(&self) -> ServerCertificate {
        let mut params = params(&["localhost", "127.0.0.1", "::1"]);
        params.not_before = date_time_ymd(2089, 1, 1);
        self.sign(params)
    }

    /// Valid, for a host that is not this one.
    pub fn wrong_host(&self) -> ServerCertificate {
        self.valid_for(&["elsewhere.example"])
    }

    fn sign(&self, mut params: CertificateParams) -> ServerCertificate {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, "portcullis test server");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        ServerCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerCertificate {
    /// Writes `server.crt` and `server.key` (mode 0600) into `dir`.
    pub fn write_to(&self, dir: &Path) -> CertificateFiles {
        use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let files = CertificateFiles { certificate: dir.join("server.crt"), key: dir.join("server.key") };
        fs::write(&files.certificate, &self.certificate_pem).expect("writing the certificate");
        let mut key = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&files.key)
            .expect("creating the key file");
        key.write_all(self.key_pem.as_bytes()).expect("writing the key");
        files
    }
}

/// Fixed dates, so that no test depends on the day it runs.
fn params(hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("valid host names");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}
