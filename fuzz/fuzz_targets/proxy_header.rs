#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_proxy::fuzz::fuzz_proxy_header(data));
