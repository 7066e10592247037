//! Bytes within texts (RFC 4648), as events carry them.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Senders may leave the padding out, and fill the last digit with any bits.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes of a text; none where it is no base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_may_be_left_out() {
        let is = |text, bytes: &str| assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        is("", "");
        is("Zg==", "f");
        is("Zm8=", "fo");
        is("Zm9v", "foo");
        is("Zm9vYg", "foob");
        is("Zm9vYmFy", "foobar");
        assert_eq!(decode("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
        is("Zh", "f");
        assert_eq!((decode("Zm9vY"), decode("Zm-v")), (None, None));
        assert_eq!((decode("Z"), decode("no!")), (None, None));
    }
}
