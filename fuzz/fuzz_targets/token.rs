#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_identity::fuzz_token(data));
