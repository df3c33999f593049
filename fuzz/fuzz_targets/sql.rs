#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_sql::fuzz::fuzz_sql(data));
