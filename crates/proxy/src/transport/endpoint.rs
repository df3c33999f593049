//! The `tls-server-end-point` channel binding: RFC 5929 section 4.1.

use aws_lc_rs::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use x509_parser::{
    oid_registry::{
        OID_HASH_SHA1, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512,
        OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
    },
    parse_x509_certificate,
    signature_algorithm::RsaSsaPssParams,
    x509::AlgorithmIdentifier,
};

/// ecdsa-with-SHA1, RFC 3279 section 2.2.3; the registry has no name for it.
const ECDSA_WITH_SHA1: &str = "1.2.840.10045.4.1";

/// Hashes the certificate with the hash of its own signature algorithm; MD5 and SHA-1 are replaced by SHA-256.
/// `None` where the algorithm has no single hash, for which the RFC defines no binding.
pub(super) fn hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let algorithm = algorithm(&parsed.signature_algorithm)?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

fn algorithm(signature: &AlgorithmIdentifier<'_>) -> Option<&'static Algorithm> {
    let oid = &signature.algorithm;
    let is = |candidates: &[x509_parser::der_parser::oid::Oid<'_>]| candidates.contains(oid);
    if is(&[
        OID_PKCS1_MD5WITHRSAENC,
        OID_PKCS1_SHA1WITHRSA,
        OID_PKCS1_SHA256WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256,
    ]) || oid.to_id_string() == ECDSA_WITH_SHA1
    {
        Some(&SHA256)
    } else if is(&[OID_PKCS1_SHA384WITHRSA, OID_SIG_ECDSA_WITH_SHA384]) {
        Some(&SHA384)
    } else if is(&[OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA512]) {
        Some(&SHA512)
    } else if is(&[OID_PKCS1_RSASSAPSS]) {
        let parameters = RsaSsaPssParams::try_from(signature.parameters.as_ref()?).ok()?;
        let hash = parameters.hash_algorithm_oid();
        if *hash == OID_HASH_SHA1 || *hash == OID_NIST_HASH_SHA256 {
            Some(&SHA256)
        } else if *hash == OID_NIST_HASH_SHA384 {
            Some(&SHA384)
        } else if *hash == OID_NIST_HASH_SHA512 {
            Some(&SHA512)
        } else {
            None
        }
    } else {
        None
    }
}
