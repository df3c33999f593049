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

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
        SignatureAlgorithm,
    };

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let p256 = certificate(&PKCS_ECDSA_P256_SHA256);
        assert_eq!(hash(&p256).unwrap(), digest(&SHA256, &p256).as_ref());
        let p384 = certificate(&PKCS_ECDSA_P384_SHA384);
        assert_eq!(hash(&p384).unwrap(), digest(&SHA384, &p384).as_ref());
    }

    #[test]
    fn where_the_rfc_defines_no_hash_there_is_no_binding() {
        assert_eq!(hash(&certificate(&PKCS_ED25519)), None);
        assert_eq!(hash(b"no certificate"), None);
    }
}
