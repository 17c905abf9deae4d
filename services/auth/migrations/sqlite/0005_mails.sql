-- The language of an account's mails, and an address that is to be its own once somebody has shown that mail to it
-- arrives.
alter table users add column language text;
alter table users add column pending_email text;

-- Mails to accounts. A row is written with what causes it, claimed before the mail is sent, and holds the outcome.
-- The hash of the link's token is made for each attempt; the token itself is nowhere.
create table mails (
    id blob primary key,
    -- Null: nobody has the address. Such a row costs the asker the same time, and is dropped.
    user_id integer references users (id) on delete cascade,
    template text not null,
    address text not null,
    language text not null,
    state text not null check (state in ('queued', 'claimed', 'sent', 'failed', 'uncertain')),
    attempts integer not null,
    -- When it is to be sent; of a claimed one, when the claim ends.
    due_at text not null,
    error text,
    link_hash blob,
    link_until text,
    link_used_at text,
    created_at text not null
);
create unique index mails_link on mails (link_hash);
create index mails_due on mails (due_at) where state in ('queued', 'claimed');
create index mails_user on mails (user_id);
create index mails_created on mails (created_at);
