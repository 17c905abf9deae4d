//! The sweeper's lease, by the server's clock.

use blocks::outbox::{LEASE_MS, Lease};
use chrono::{DateTime, TimeDelta, Utc};
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use sql::StoreError;
use uuid::Uuid;

use super::document::{date, time};
use super::error::{failed, is_duplicate};
use super::{LEASES, Mongo};

const SWEEPER: &str = "sweeper";

/// Takes or renews the lease; `None` while somebody else has it.
pub(super) async fn take(mongo: &Mongo, holder: Uuid) -> Result<Option<Lease>, StoreError> {
    let now = server_time(mongo).await?;
    let holder = holder.to_string();
    // The time to reach the server only makes it end earlier.
    let expires = date(now + TimeDelta::milliseconds(LEASE_MS));
    let leases = mongo.collection(LEASES);
    let kept = leases
        .find_one_and_update(
            doc! {"_id": SWEEPER, "holder": &holder},
            doc! {"$set": {"expires": expires}},
        )
        .return_document(ReturnDocument::After)
        .await
        .map_err(failed)?;
    if let Some(kept) = kept {
        return epoch(&kept).map(Some);
    }
    let taken = leases
        .find_one_and_update(
            doc! {"_id": SWEEPER, "expires": {"$lt": date(now)}},
            doc! {"$set": {"holder": &holder, "expires": expires}, "$inc": {"epoch": 1_i64}},
        )
        .return_document(ReturnDocument::After)
        .await
        .map_err(failed)?;
    if let Some(taken) = taken {
        return epoch(&taken).map(Some);
    }
    let first = doc! {"_id": SWEEPER, "holder": &holder, "epoch": 1_i64, "expires": expires};
    match leases.insert_one(&first).await {
        Ok(_) => epoch(&first).map(Some),
        Err(error) if is_duplicate(&error) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn epoch(lease: &Document) -> Result<Lease, StoreError> {
    let epoch = lease.get_i64("epoch");
    let epoch = epoch.map_err(|error| StoreError::Rejected(Box::new(error)))?;
    Ok(Lease { epoch })
}

async fn server_time(mongo: &Mongo) -> Result<DateTime<Utc>, StoreError> {
    let hello = mongo.inner.database.run_command(doc! {"hello": 1}).await;
    let hello = hello.map_err(failed)?;
    let now = hello.get_datetime("localTime");
    let now = now.map_err(|error| StoreError::Rejected(Box::new(error)))?;
    Ok(time(*now))
}
