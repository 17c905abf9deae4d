//! Kafka's hash of a key, so that a key keeps its partition when a topic moves to a broker.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The partition of `key` among `partitions`, as Kafka's own producers choose it.
pub(super) fn partition_of(key: &str, partitions: usize) -> usize {
    (murmur2(key.as_bytes()) & 0x7fff_ffff) as usize % partitions
}

/// Murmur2 in 32 bits with Kafka's seed. The length is taken modulo 2^32, as the original does.
fn murmur2(data: &[u8]) -> u32 {
    let length = u32::try_from(data.len() & 0xffff_ffff).unwrap_or_default();
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_kafka_hashes_them() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_key_has_one_partition_and_keys_are_spread() {
        let mut seen = [0; 6];
        for n in 0..600 {
            let key = format!("key-{n}");
            assert_eq!(partition_of(&key, 6), partition_of(&key, 6));
            seen[partition_of(&key, 6)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        assert_eq!(partition_of("", 1), 0);
    }
}
