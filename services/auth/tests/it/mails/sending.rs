//! What becomes of a mail.

use auth::mails::Fate;

use super::*;

async fn fates(site: &Site) -> Vec<Fate> {
    site.world.auth.send_mails().await.unwrap()
}

on_both!(
    a_mail_that_was_not_taken_is_tried_again_with_a_new_link,
    |site: Site| async move {
        site.world.register("ada").await;
        site.will_answer(MailError::Retry("451".into()));
        let (failed, first) = site.mail().await;
        assert!(site.mails().await.is_empty());
        site.pass(TimeDelta::seconds(30));
        let (sent, second) = site.mail().await;
        assert_eq!(failed.id, sent.id, "the Message-ID stays");
        assert_ne!(first, second);
        assert!(complaint(&site.verify(&first).await).contains("unknown"));
        site.verify(&second).await.expect(200);
        site.pass(TimeDelta::days(1));
        assert!(site.mails().await.is_empty());
    }
);

on_both!(
    it_is_given_up_after_eight_attempts_or_a_refusal,
    |site: Site| async move {
        site.world.register("ada").await;
        for attempt in 1..=8 {
            site.will_answer(MailError::Retry("451".into()));
            let fate = if attempt == 8 {
                Fate::Failed
            } else {
                Fate::Waits
            };
            assert_eq!(fates(&site).await, [fate], "{attempt}");
            assert!(fates(&site).await.is_empty());
            site.pass(TimeDelta::seconds(30 << (attempt - 1)));
        }
        assert!(fates(&site).await.is_empty());
        site.world.register("bob").await;
        site.will_answer(MailError::Refused("550".into()));
        assert_eq!(fates(&site).await, [Fate::Failed]);
        site.pass(TimeDelta::days(1));
        assert!(fates(&site).await.is_empty());
    }
);

on_both!(
    one_whose_fate_is_unknown_is_not_sent_again_and_its_link_holds,
    |site: Site| async move {
        site.world.register("ada").await;
        site.will_answer(MailError::Uncertain("no answer".into()));
        let (_, token) = site.mail().await;
        site.pass(TimeDelta::hours(1));
        assert!(fates(&site).await.is_empty());
        site.verify(&token).await.expect(200);
    }
);

on_both!(two_replicas_send_a_mail_once, |site: Site| async move {
    for name in ["ada", "bob", "carl"] {
        site.world.register(name).await;
    }
    let (one, other) = tokio::join!(site.world.auth.send_mails(), site.world.auth.send_mails());
    let sent = one.unwrap().into_iter().chain(other.unwrap());
    assert_eq!(sent.filter(|fate| *fate == Fate::Sent).count(), 3);
    assert_eq!(site.post.seen.lock().len(), 3);
});

on_both!(
    a_claim_without_an_outcome_becomes_uncertain,
    |site: Site| async move {
        site.world.register("ada").await;
        let claim = site.world.db.db.write(|tx| {
            Box::pin(async move {
                let until = tx.now() + TimeDelta::minutes(3);
                sql::execute!(tx, "update mails set state = 'claimed', attempts = 1, due_at = $1" => until)
            })
        });
        let claim: Result<(), sql::StoreError> = claim.await;
        claim.unwrap();
        assert!(fates(&site).await.is_empty());
        site.pass(TimeDelta::minutes(3));
        assert_eq!(fates(&site).await, [Fate::Uncertain]);
        assert!(fates(&site).await.is_empty() && site.post.seen.lock().is_empty());
    }
);

on_both!(
    a_deleted_account_gets_no_mail_and_leaves_none,
    |site: Site| async move {
        let id = site.world.register("ada").await;
        let root = site.world.with_role("root", Role::Admin).await;
        let path = format!("/api/v1/users/{id}");
        site.world
            .send("DELETE", &path, Some(&root), &Value::Null)
            .await
            .expect(200);
        let mails = site.mails().await;
        assert!(
            mails.iter().all(|mail| mail.to == "root@example.org"),
            "{mails:?}"
        );
        let mut reader = site.world.db.db.read().await.unwrap();
        let left: i64 = sql::fetch_one!(reader, scalar
            "select count(*) from mails where address = 'ada@example.org'")
        .unwrap();
        assert_eq!(left, 0);
    }
);

on_both!(no_token_is_in_the_store, |site: Site| async move {
    site.world.register("ada").await;
    site.will_answer(MailError::Retry("451".into()));
    let (_, token) = site.mail().await;
    assert_eq!(token.len(), 64);
    let mut reader = site.world.db.db.read().await.unwrap();
    let hash: Vec<u8> = sql::fetch_one!(reader, scalar "select link_hash from mails").unwrap();
    assert!(hash.len() == 32 && hex::encode(&hash) != token && hash != token.as_bytes());
});
