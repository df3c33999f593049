//! The certificate made when none is configured.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use zeroize::Zeroizing;

use super::{CertificatePaths, TlsError};

/// Certificate and key, inside the data folder.
const CERTIFICATE_FILE: &str = "tls/self-signed.crt";
const KEY_FILE: &str = "tls/self-signed.key";

/// Validity as in RFC 5280 section 4.1.2.5 for "no well-defined expiration": clients pin it, nobody renews it.
const NOT_BEFORE: (i32, u8, u8) = (2026, 1, 1);
const NOT_AFTER: (i32, u8, u8) = (2126, 1, 1);

/// Makes the pair unless both files are there. The certificate is renamed into place last, so that a crash in between
/// leaves no half pair behind: without it the next start makes a new one.
pub(super) fn ensure(data: &Path, host_names: &[String]) -> Result<CertificatePaths, TlsError> {
    let paths = CertificatePaths { certificate: data.join(CERTIFICATE_FILE), key: data.join(KEY_FILE) };
    let exists =
        |path: &Path| path.try_exists().map_err(|source| TlsError::File { path: path.to_owned(), source });
    if exists(&paths.certificate)? {
        return Ok(paths);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = parameters(host_names)?.self_signed(&key)?;
    write_private(&paths.key, &Zeroizing::new(key.serialize_pem()))?;
    write_private(&paths.certificate, &certificate.pem())?;
    Ok(paths)
}

fn parameters(host_names: &[String]) -> Result<CertificateParams, TlsError> {
    // A name that cannot stand in a certificate (an underscore is fine, a non-ASCII letter is not) is left out.
    let names = host_names.iter().filter(|name| name.is_ascii() && !name.is_empty() && *name != "localhost");
    let mut parameters = CertificateParams::new(
        std::iter::once("localhost".to_owned()).chain(names.cloned()).collect::<Vec<_>>(),
    )?;
    parameters.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    parameters.subject_alt_names.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "portcullis self-signed");
    parameters.distinguished_name = name;
    parameters.not_before = date_time_ymd(NOT_BEFORE.0, NOT_BEFORE.1, NOT_BEFORE.2);
    parameters.not_after = date_time_ymd(NOT_AFTER.0, NOT_AFTER.1, NOT_AFTER.2);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(parameters)
}

/// Writes a file only its owner may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let unfinished = path.with_extension("new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| TlsError::File { path: path.to_owned(), source })
}
