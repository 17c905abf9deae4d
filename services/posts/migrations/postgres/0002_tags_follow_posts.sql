-- The rows of a post's tags follow the post by themselves, in its own statement. A removal knows its
-- rows by the tags that were, so no index by post is needed.
drop index post_tags_of_post;

create function post_tags_follow() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        delete from post_tags where (tag, created_at, post_id) in
            (select value, old.created_at, old.id
                from jsonb_array_elements_text(old.tags::jsonb) as t(value));
    end if;
    insert into post_tags (tag, created_at, post_id, user_id)
        select value, new.created_at, new.id, new.user_id
            from jsonb_array_elements_text(new.tags::jsonb) as t(value);
    return null;
end
$$;

create trigger post_tags_of_a_new_post after insert on posts
    for each row when (new.tags <> '[]') execute function post_tags_follow();

create trigger post_tags_of_a_changed_post after update of tags on posts
    for each row when (old.tags <> new.tags) execute function post_tags_follow();
