use super::*;

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

fn v2_ipv4() -> Vec<u8> {
    v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x15, 0x38])
}

fn proxied(source: &str) -> Header {
    Header::Proxied { source: source.parse().unwrap() }
}

fn good() -> Vec<(Vec<u8>, Header)> {
    let mut v6 = [0_u8; 36];
    v6[0..2].copy_from_slice(&[0x20, 0x01]);
    v6[15] = 9;
    v6[32..34].copy_from_slice(&443_u16.to_be_bytes());
    let mut with_tlv = v6.to_vec();
    with_tlv.extend([0xea, 0, 3, 1, 2, 3, 0x04, 0, 0]);
    vec![
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 5432\r\n".to_vec(), proxied("192.0.2.7:12345")),
        (b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n".to_vec(), proxied("[2001:db8::7]:1")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Local),
        (b"PROXY UNKNOWN ffff::1 what ever 1 2\r\n".to_vec(), Header::Local),
        (v2_ipv4(), proxied("192.0.2.7:12345")),
        (v2(0x21, 0x21, &v6), proxied("[2001::9]:443")),
        (v2(0x21, 0x21, &with_tlv), proxied("[2001::9]:443")),
        (v2(0x20, 0x00, &[]), Header::Local),
        (v2(0x20, 0x11, &[1, 2, 3]), Header::Local),
        (v2(0x21, 0x00, &[]), Header::Local),
    ]
}

#[test]
fn good_headers_decode_and_leave_what_follows() {
    for (bytes, header) in good() {
        let length = bytes.len();
        let mut followed = bytes.clone();
        followed.extend(b"\0\0\0\x08\x04\xd2\x16\x2f PROXY TCP4");
        for bytes in [bytes, followed] {
            match decode(&bytes).unwrap() {
                Decoded::Done { header: got, length: took } => assert_eq!((got, took), (header, length)),
                Decoded::Need(_) => panic!("complete: {bytes:?}"),
            }
            fuzz_proxy_header(&bytes);
        }
    }
}

#[test]
fn a_header_cut_at_any_byte_asks_for_more_and_never_past_its_end() {
    for (bytes, _) in good() {
        for cut in 0..bytes.len() {
            match decode(&bytes[..cut]).unwrap() {
                Decoded::Need(more) => {
                    assert!(more > 0 && cut + more <= bytes.len(), "{bytes:?} at {cut}: {more}")
                }
                Decoded::Done { .. } => panic!("cut at {cut}: {bytes:?}"),
            }
        }
    }
}

#[test]
fn malformed_headers_are_refused() {
    let text: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 -2\r\n",
        b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 127.0.0.1 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 somewhere 1 2\r\n",
        b"PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 \xff\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n\r\n",
    ];
    for bytes in text {
        assert!(decode(bytes).is_err(), "{}", bytes.escape_ascii());
        fuzz_proxy_header(bytes);
    }
    let mut endless = b"PROXY UNKNOWN ".to_vec();
    endless.resize(V1_MAX, b'x');
    assert!(matches!(decode(&endless[..V1_MAX - 1]), Ok(Decoded::Need(1))));
    assert!(decode(&endless).is_err());
}

#[test]
fn malformed_binary_headers_are_refused() {
    let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x15, 0x38];
    let mut cut_tlv = addresses.to_vec();
    cut_tlv.extend([0xea, 0, 9, 1]);
    let mut short_tlv = addresses.to_vec();
    short_tlv.extend([0xea, 0]);
    for bytes in [
        v2(0x11, 0x11, &addresses),
        v2(0x22, 0x11, &addresses),
        v2(0x21, 0x12, &addresses),
        v2(0x21, 0x31, &[0; 216]),
        v2(0x21, 0x11, &addresses[..11]),
        v2(0x21, 0x21, &addresses),
        v2(0x21, 0x11, &cut_tlv),
        v2(0x21, 0x11, &short_tlv),
        v2(0x21, 0x11, &[0; V2_BODY_MAX + 1]),
    ] {
        assert!(decode(&bytes).is_err(), "{}", bytes.escape_ascii());
        fuzz_proxy_header(&bytes);
    }
    // A length we would not take is refused before anything is read for it.
    assert!(decode(&v2(0x21, 0x11, &[0; V2_BODY_MAX + 1])[..V2_FIXED]).is_err());
}

#[test]
fn arbitrary_bytes_do_not_panic() {
    let seeds = good();
    for (seed, _) in &seeds {
        for at in 0..seed.len() {
            for bit in 0..8 {
                let mut bytes = seed.clone();
                bytes[at] ^= 1 << bit;
                fuzz_proxy_header(&bytes);
            }
        }
    }
}

#[tokio::test]
async fn reading_puts_back_what_follows_however_it_arrives() {
    use tokio::io::AsyncWriteExt as _;
    for (bytes, header) in good() {
        for split in [0, 1, bytes.len() / 2, bytes.len()] {
            // A pipe of one piece at a time: what fits is what arrives at once.
            let (mut far, near) = tokio::io::duplex(split.max(1));
            let all = [bytes.as_slice(), b"after"].concat();
            let writing = tokio::spawn(async move { far.write_all(&all).await.map(|()| far) });
            let mut transport = Transport::duplex(near);
            assert_eq!(read(&mut transport).await.unwrap(), header);
            let mut after = [0; 5];
            transport.read_exact(&mut after).await.unwrap();
            assert_eq!(&after, b"after");
            drop(writing.await.unwrap().unwrap());
        }
    }
}

#[test]
fn networks_match_in_either_spelling() {
    let networks = ProxyNetworks::new(vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    for yes in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
        assert!(networks.contains(yes.parse().unwrap()), "{yes}");
    }
    for no in ["10.2.0.1", "127.0.0.1", "::1", "2001:db9::1"] {
        assert!(!networks.contains(no.parse().unwrap()), "{no}");
    }
    assert!(!ProxyNetworks::new(Vec::new()).contains("127.0.0.1".parse().unwrap()));
}
