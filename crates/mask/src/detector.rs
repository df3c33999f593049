//! [`Detector`]: what is looked for in values.

/// What is looked for in values.
#[derive(Clone, Debug)]
pub enum Detector {
    /// A payment card number: 12 to 19 digits of a known issuer's range whose Luhn digit is right.
    CreditCard,
    /// An e-mail address.
    Email,
    /// A social security number of the United States.
    UsSsn,
    /// An international bank account number whose check digits are right (ISO 7064, mod 97-10).
    Iban,
    /// A telephone number.
    Phone,
    /// A key of a well-known service, by its shape.
    ApiKey,
    /// A JSON Web Token.
    Jwt,
    /// A private key in PEM form.
    PrivateKey,
    /// A regular expression of the documents.
    Regex {
        /// What findings are called.
        name: Box<str>,
        /// The expression.
        regex: regex::Regex,
    },
}
