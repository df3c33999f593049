//! The console's files: the web application of `web/`, as `make web` built it, inside the program.
//!
//! **Promises.** Nothing is read at run time: what was there when the program was compiled is served, and no other file, whatever
//! the path says. Built without Node.js there is one plain page that says how to build the console. What never changes under its
//! name may be kept for ever; everything else is asked for again, and answered by its tag. `INVARIANT(no-inline)`: the policy of
//! [`CONTENT_SECURITY_POLICY`] runs no script and takes no style that is not one of these files.
//!
//! **Does not** speak HTTP, nor decide who may see what: these files are for everybody, and hold nothing but code. `portcullis-api`
//! serves them and answers what they ask.
//!
//! **To read:** [`asset`], then `encoding.rs`.
//!
//! **References:** RFC 9110 sections 8.8.3 and 12.5.3 (tags, encodings), Content Security Policy Level 3.

use std::borrow::Cow;

use rust_embed::RustEmbed;

mod encoding;

pub use encoding::Encoding;

/// What the console's pages are served with. Styles set by scripts go through the object model, which this allows.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Under this, names hold a digest of what is in them.
const HASHED: &str = "assets/";
const FOREVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";
const PAGE: &str = "index.html";

#[derive(RustEmbed)]
#[folder = "../../web/dist/console"]
#[allow_missing = true]
struct Built;

/// What is served where the console was not built.
const UNBUILT: &str = include_str!("unbuilt.html");

/// One file, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The body, encoded as `encoding` says.
    pub bytes: Cow<'static, [u8]>,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// For `Content-Encoding`.
    pub encoding: Encoding,
    /// For `ETag`, quotes included. Another one for another encoding.
    pub etag: String,
    /// For `Cache-Control`.
    pub cache: &'static str,
}

/// Whether the web application is in this program.
pub fn is_built() -> bool {
    Built::get(PAGE).is_some()
}

/// What a `GET` of `path` is answered with, in the best encoding that `accept_encoding` takes. Paths of pages all get the one page,
/// which finds out by itself what to show; `None`: there is no such file, or the path belongs to the API.
pub fn asset(path: &str, accept_encoding: &str) -> Option<Asset> {
    let name = path.trim_start_matches('/');
    if is_of_the_api(name) {
        return None;
    }
    if is_page(name) {
        return Some(file(PAGE, accept_encoding).unwrap_or_else(unbuilt));
    }
    file(name, accept_encoding)
}

/// Never a page, so that a program that asks a wrong address of the API is not answered with HTML.
fn is_of_the_api(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    matches!(first, "api" | "metrics" | "healthz" | "readyz")
}

/// Files have an extension, pages have none; but a connection's page has its name, which may have a dot.
fn is_page(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    let dots = last.contains('.') && !name.starts_with("connections/");
    name == PAGE || !dots && !name.starts_with(HASHED)
}

fn file(name: &str, accept_encoding: &str) -> Option<Asset> {
    // The encoded ones beside it are not files of their own.
    if Encoding::ALL.iter().any(|encoding| encoding.extension().is_some_and(|end| name.ends_with(end))) {
        return None;
    }
    for encoding in Encoding::accepted(accept_encoding) {
        let found = match encoding.extension() {
            Some(end) => Built::get(&format!("{name}{end}")),
            None => Built::get(name),
        };
        if let Some(found) = found {
            return Some(Asset {
                etag: etag(&found.metadata.sha256_hash()),
                bytes: found.data,
                content_type: content_type(name),
                encoding,
                cache: if name.starts_with(HASHED) { FOREVER } else { ASK_AGAIN },
            });
        }
    }
    None
}

fn unbuilt() -> Asset {
    Asset {
        bytes: Cow::Borrowed(UNBUILT.as_bytes()),
        content_type: content_type(PAGE),
        encoding: Encoding::Identity,
        etag: "\"unbuilt\"".to_owned(),
        cache: ASK_AGAIN,
    }
}

fn etag(digest: &[u8]) -> String {
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_page_gets_the_page_and_one_of_the_api_gets_nothing() {
        for path in [
            "/",
            "/requests/req_01",
            "/sessions/ses_01",
            "/policy",
            "/no/such/page",
            "/connections/prod.db",
            "/index.html",
        ] {
            let page = asset(path, "").unwrap();
            assert_eq!(page.content_type, "text/html; charset=utf-8", "{path}");
            assert_eq!((page.cache, page.encoding), (ASK_AGAIN, Encoding::Identity), "{path}");
        }
        for path in ["/api", "/api/v1/nothing", "//api/v1/me", "/metrics", "/healthz", "/readyz"] {
            assert_eq!(asset(path, ""), None, "{path}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_not_there() {
        for path in [
            "/robots.txt",
            "/assets/index-0000.js",
            "/assets",
            "/assets/",
            "/../Cargo.toml",
            "/..%2fCargo.toml",
            "/.git/config",
        ] {
            let found = asset(path, "br");
            assert!(
                found.as_ref().is_none_or(|found| found.content_type.starts_with("text/html")),
                "{path}: {found:?}"
            );
        }
        assert_eq!(asset("/assets/", ""), None);
        assert_eq!(asset("/index.html.br", "br"), None);
    }

    #[test]
    fn nothing_served_has_a_script_or_a_style_of_its_own() {
        let pages = [asset("/", "").unwrap().bytes.into_owned(), UNBUILT.as_bytes().to_vec()];
        for page in pages {
            let page = String::from_utf8(page).unwrap();
            assert!(!page.contains("<style") && !page.contains("style="), "{page}");
            for script in page.split("<script").skip(1) {
                let (tag, rest) = script.split_once('>').unwrap();
                assert!(tag.contains("src=") && rest.starts_with("</script>"), "{tag}");
            }
        }
    }

    #[test]
    fn what_was_built_is_served_encoded_and_tagged() {
        // What the build script saw in the folder is what is in here.
        assert_eq!(is_built(), cfg!(console_is_built));
        if !is_built() {
            return assert!(String::from_utf8_lossy(&asset("/", "").unwrap().bytes).contains("make web"));
        }
        assert!(
            String::from_utf8_lossy(&asset("/policy", "").unwrap().bytes).contains("<script type=\"module\"")
        );
        let name = Built::iter().find(|name| name.starts_with(HASHED) && name.ends_with(".js")).unwrap();
        let plain = asset(&format!("/{name}"), "").unwrap();
        let brotli = asset(&format!("/{name}"), "gzip, br").unwrap();
        let gzip = asset(&format!("/{name}"), "br;q=0, gzip").unwrap();
        assert_eq!(plain.content_type, "text/javascript; charset=utf-8");
        assert_eq!([plain.cache, brotli.cache], [FOREVER; 2]);
        assert_eq!(
            [plain.encoding, gzip.encoding, brotli.encoding],
            [Encoding::Identity, Encoding::Gzip, Encoding::Brotli]
        );
        assert!(brotli.bytes.len() < gzip.bytes.len() && gzip.bytes.len() < plain.bytes.len());
        assert!(plain.etag != brotli.etag && plain.etag.len() == 34, "{}", plain.etag);
    }
}
