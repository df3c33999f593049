#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_record::fuzz::fuzz_recording(data));
