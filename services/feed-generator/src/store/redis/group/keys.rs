//! The state of partitions and keys that a member decides by, and how it reads it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use blocks::bus::TopicPartition;
use blocks::consumer::{Block, Key, Known, Offsets};
use blocks::error::BoxError;
use redis::{Pipeline, Value, from_redis_value};
use uuid::Uuid;

use super::Group;
use crate::store::redis::args::Args;

/// The partition's field in the group's hashes.
pub(super) fn field(of: &TopicPartition) -> String {
    format!("{}/{}", of.topic, of.partition)
}

/// Reads a field of the hash of blocked keys: the number under which operators know it, and the block.
pub(super) fn read_block(text: &str) -> Result<(i64, Block), BoxError> {
    let (id, block) = text
        .split_once(' ')
        .ok_or("a parked key without a number")?;
    Ok((id.parse()?, serde_json::from_str(block)?))
}

/// The state that was read, which must still hold when the write is made.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    epoch: String,
    /// The last write of each partition.
    writes: BTreeMap<String, String>,
    /// The next offset of each partition.
    pub offsets: Offsets,
    pub keys: HashMap<Key, Known>,
}

/// Texts of an answer, absent ones as `None`.
pub(super) fn texts(value: Value) -> Result<Vec<Option<String>>, BoxError> {
    Ok(from_redis_value(value)?)
}

impl Group {
    /// Reads the state of `keys`, all of them in `partitions`. The last writes are read first, so a
    /// change during the rest of the reading makes their check fail.
    pub(super) async fn snapshot(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        keys: &HashSet<Key>,
    ) -> Result<Snapshot, BoxError> {
        let fields: Vec<String> = partitions.iter().map(field).collect();
        let mut pipeline = Pipeline::new();
        pipeline.hmget(self.key("state"), &["epoch"][..]);
        pipeline.hmget(self.key("writes"), &fields);
        pipeline.hmget(self.key("offsets"), &fields);
        pipeline.hlen(self.key("parked"));
        let mut by_topic: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
        for key in keys {
            by_topic.entry(&key.topic).or_default().push(key);
        }
        for (topic, keys) in &by_topic {
            let names: Vec<&str> = keys.iter().map(|key| &*key.key).collect();
            pipeline.hmget(self.key(&format!("versions:{topic}")), names);
        }
        let mut answers = self.link.ask::<Vec<Value>>(&pipeline).await?.into_iter();
        let mut answer = || answers.next().ok_or("an answer is missing");
        let mut next = || texts(answer()?);
        let mut snapshot = Snapshot {
            epoch: next()?.pop().flatten().unwrap_or_default(),
            ..Snapshot::default()
        };
        snapshot.writes = fields
            .into_iter()
            .zip(next()?)
            .map(|(field, write)| (field, write.unwrap_or_default()))
            .collect();
        for (of, offset) in partitions.iter().zip(next()?) {
            // A partition without an offset was forgotten or never seen: it is at its start.
            let offset = offset.map_or(Ok(0), |offset| offset.parse())?;
            snapshot.offsets.insert(of.clone(), offset);
        }
        let parked: i64 = from_redis_value(answer()?)?;
        for keys in by_topic.into_values() {
            let versions = texts(answer()?)?;
            for (key, version) in keys.into_iter().zip(versions) {
                let known = Known {
                    version: version.map(|version| version.parse()).transpose()?,
                    ..Known::default()
                };
                snapshot.keys.insert(key.clone(), known);
            }
        }
        // Most of the time there is none.
        if parked > 0 && !snapshot.keys.is_empty() {
            self.look_at_blocks(&mut snapshot).await?;
        }
        Ok(snapshot)
    }

    async fn look_at_blocks(&self, snapshot: &mut Snapshot) -> Result<(), BoxError> {
        let fields: Vec<String> = snapshot.keys.keys().map(Key::to_string).collect();
        let mut pipeline = Pipeline::new();
        pipeline.hmget(self.key("parked"), fields);
        let (blocks,): (Vec<Option<String>>,) = self.link.ask(&pipeline).await?;
        for (known, block) in snapshot.keys.values_mut().zip(blocks) {
            let block = block.map(|text| read_block(&text)).transpose()?;
            known.block = block.map(|(_, block)| block);
        }
        Ok(())
    }
}

impl Snapshot {
    /// The checks that this state still holds, and the arguments that tell other members of the
    /// write.
    pub fn begin(&self, group: &Group) -> (Vec<[String; 3]>, Args) {
        let mut checks = vec![[group.key("state"), "epoch".into(), self.epoch.clone()]];
        let mut args = Args::default();
        for (field, write) in &self.writes {
            checks.push([group.key("writes"), field.clone(), write.clone()]);
            args.push("touch").push(field.as_str());
        }
        (checks, args)
    }

    /// The state after the write `id`, which was decided by this one and leaves `offsets` and `keys`.
    pub fn after(mut self, id: Uuid, offsets: Offsets, mut keys: HashMap<Key, Known>) -> Self {
        for write in self.writes.values_mut() {
            *write = id.to_string();
        }
        for known in keys.values_mut() {
            (known.moved, known.block_changed) = (false, false);
        }
        Self {
            offsets,
            keys,
            ..self
        }
    }

    /// True if both states name the same epoch, and the same last writes for partitions in both.
    pub fn is_since(&self, known: &Self) -> bool {
        let mut both = self.writes.iter().filter_map(|(field, write)| {
            let known = known.writes.get(field)?;
            Some(write == known)
        });
        self.epoch == known.epoch && both.all(|is_same| is_same)
    }

    /// Takes the values of `later` for all that this state contains.
    pub fn overwrite(&mut self, later: &Self) {
        for (field, write) in &mut self.writes {
            if let Some(later) = later.writes.get(field) {
                write.clone_from(later);
            }
        }
        for (of, offset) in &mut self.offsets {
            *offset = later.offsets.get(of).copied().unwrap_or(*offset);
        }
        for (key, known) in &mut self.keys {
            if let Some(later) = later.keys.get(key) {
                known.clone_from(later);
            }
        }
    }
}
