#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_audit::format::fuzz_segment(data));
