//! The endpoints for managing accounts: for admins, and in part for their owners.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use blocks::extract::{
    Admin, IdempotencyKey, IfNoneMatch, Listing, NoBody, Page, Tagged, ValidJson, ValidPath,
    ValidQuery, filled,
};
use blocks::{Caller, FieldErrors, Mediator, Role};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Done;
use super::bodies::{AccountView, NewUser, UserChange};
use crate::Auth;
use crate::commands::{ChangeAccount, CloseAccount, OpenAccount};
use crate::domain::{Registration, WantedChange};
use crate::error::AuthError;
use crate::queries::{Erasure, ListUsers, ReadErasure, ReadUser, Which};
use crate::store::{Sort, UserFilter};

/// The longest text that is looked for, in characters: as long as an address can be.
const MAX_Q: usize = 254;

/// Which accounts, and in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Only those whose address, username or name begins so, whatever the case; a blank one is none.
    #[param(max_length = 254)] // `MAX_Q`
    q: Option<String>,
    /// Only those with this role.
    #[param(inline)]
    role: Option<Role>,
    /// Only active ones, or only others.
    is_active: Option<bool>,
    /// The order.
    #[param(inline)]
    sort: Option<Sort>,
}

impl Wanted {
    pub(crate) fn check(self) -> Result<(UserFilter, Sort), FieldErrors> {
        if self.q.as_ref().is_some_and(|q| q.chars().count() > MAX_Q) {
            let why = format!("must have at most {MAX_Q} characters");
            return Err(FieldErrors::one("q", why));
        }
        let filter = UserFilter {
            q: self.q.and_then(filled),
            role: self.role,
            is_active: self.is_active,
        };
        Ok((filter, self.sort.unwrap_or_default()))
    }
}

/// How far the erasure of a closed account is.
#[derive(Serialize, ToSchema)]
pub(super) struct ErasureView {
    user_id: i64,
    /// When the account was closed: RFC 3339.
    #[schema(format = DateTime)]
    closed_at: String,
    /// The services that hold nothing of it any more.
    services: Vec<ErasedView>,
}

/// A service's answer that it holds nothing of an account any more.
#[derive(Serialize, ToSchema)]
pub(super) struct ErasedView {
    service: String,
    /// How many records it erased.
    records: i64,
    /// When it answered: RFC 3339.
    #[schema(format = DateTime)]
    erased_at: String,
}

impl From<Erasure> for ErasureView {
    fn from(erasure: Erasure) -> Self {
        let answers = erasure.answers.into_iter();
        Self {
            user_id: erasure.user_id,
            closed_at: events::timestamp(erasure.closed_at),
            services: answers
                .map(|answer| ErasedView {
                    service: answer.service,
                    records: answer.records,
                    erased_at: events::timestamp(answer.erased_at),
                })
                .collect(),
        }
    }
}

/// Lists accounts.
#[utoipa::path(
    get, path = "/api/v1/users", operation_id = "users.list", tag = "users",
    params(Wanted, Page),
    responses(
        (status = 200, description = "a page of accounts", body = Listing<AccountView>),
        (status = 403, description = "`forbidden`: for admins"),
    )
)]
pub(super) async fn list(
    State(auth): State<Auth>,
    _: Admin,
    ValidQuery(wanted): ValidQuery<Wanted>,
    page: Page,
) -> Result<Json<Listing<AccountView>>, AuthError> {
    let (filter, sort) = wanted.check()?;
    let found = auth.ask(ListUsers { filter, sort, page }).await?;
    Ok(Json(found.map(AccountView::from)))
}

/// Opens an account for somebody. Without a password they get a link by mail to choose one.
#[utoipa::path(
    post, path = "/api/v1/users", operation_id = "users.create", tag = "users",
    request_body = NewUser,
    params(IdempotencyKey),
    responses(
        (status = 201, description = "opened", body = AccountView),
        (status = 400, description = "`user_exists`: the e-mail address or the name is taken; `password_too_weak`: with advice"),
        (status = 403, description = "`forbidden`: for admins"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn create(
    State(auth): State<Auth>,
    Admin(by): Admin,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewUser>,
) -> Result<(StatusCode, Json<AccountView>), AuthError> {
    let new = Registration::from(new).check()?;
    let once = Some((by, key));
    let account = auth.send(OpenAccount { new, once }).await?;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// Opens an account: one's own, or with an admin's token one for somebody.
///
/// An `Idempotency-Key` belongs to the caller: without a token it is not read.
#[utoipa::path(
    post, path = "/users", operation_id = "users.join", tag = "users",
    request_body = NewUser,
    params(IdempotencyKey),
    responses(
        (status = 201, description = "opened", body = AccountView),
        (status = 400, description = "`user_exists`: the e-mail address or the name is taken; `password_too_weak`: with advice"),
        (status = 403, description = "`forbidden`: the field that is for admins; or a token that is no admin's"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn join(
    State(auth): State<Auth>,
    by: Option<Caller>,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewUser>,
) -> Result<(StatusCode, Json<AccountView>), AuthError> {
    let once = match by {
        Some(by) if by.role == Role::Admin => Some((by, key)),
        Some(_) => return Err(AuthError::AdminsOnly),
        None => {
            new.check_own()?;
            None
        }
    };
    let new = Registration::from(new).check()?;
    let account = auth.send(OpenAccount { new, once }).await?;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// Shows an account to an admin or its owner.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", operation_id = "users.get", tag = "users",
    params(("id" = i64, Path, description = "the account"), IfNoneMatch),
    responses(
        (status = 200, description = "the account", body = AccountView),
        (status = 404, description = "`user_not_found`: none, or not for the caller to see"),
    )
)]
pub(super) async fn get(
    State(auth): State<Auth>,
    by: Caller,
    ValidPath(id): ValidPath<i64>,
    seen: IfNoneMatch,
) -> Result<Response, AuthError> {
    show(&auth, by, Which::Id(id), seen).await
}

/// Shows the account with an e-mail address to an admin or its owner.
#[utoipa::path(
    get, path = "/api/v1/users/email/{email}", operation_id = "users.get_by_email", tag = "users",
    params(("email" = String, Path, description = "the address, in any case"), IfNoneMatch),
    responses(
        (status = 200, description = "the account", body = AccountView),
        (status = 404, description = "`user_not_found`: none, or not for the caller to see"),
    )
)]
pub(super) async fn by_email(
    State(auth): State<Auth>,
    by: Caller,
    ValidPath(email): ValidPath<String>,
    seen: IfNoneMatch,
) -> Result<Response, AuthError> {
    show(&auth, by, Which::Email(email), seen).await
}

async fn show(
    auth: &Auth,
    by: Caller,
    which: Which,
    seen: IfNoneMatch,
) -> Result<Response, AuthError> {
    let by = Some(by);
    let account = auth.ask(ReadUser { by, which }).await?;
    Ok(seen.answer(Tagged::json(&AccountView::from(account))))
}

/// Changes an account: any subset of its fields. Role and state are for admins to change.
///
/// Where mails are sent, one's own new e-mail address counts once the link that is mailed to it was followed.
#[utoipa::path(
    put, path = "/api/v1/users/{id}", operation_id = "users.update", tag = "users",
    params(("id" = i64, Path, description = "the account")),
    request_body = UserChange,
    responses(
        (status = 200, description = "the account after the change", body = AccountView),
        (status = 400, description = "`user_exists`: the e-mail address or the name is taken"),
        (status = 403, description = "`forbidden`: the field that is for admins to change"),
        (status = 404, description = "`user_not_found`: none, or not for the caller to see"),
        (status = 409, description = "`last_admin`: there would be no admin any more"),
    )
)]
pub(super) async fn change(
    State(auth): State<Auth>,
    by: Caller,
    ValidPath(id): ValidPath<i64>,
    ValidJson(change): ValidJson<UserChange>,
) -> Result<Json<AccountView>, AuthError> {
    let (by, change) = (Some(by), WantedChange::from(change).check()?);
    let account = auth.send(ChangeAccount { by, id, change }).await?;
    Ok(Json(account.into()))
}

/// Closes an account for ever. Its posts and all that services hold of it are erased.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}", operation_id = "users.delete", tag = "users",
    params(("id" = i64, Path, description = "the account")),
    responses(
        (status = 200, description = "closed", body = Done),
        (status = 403, description = "`forbidden`: for admins"),
        (status = 404, description = "`user_not_found`"),
        (status = 409, description = "`last_admin`: there would be no admin any more"),
    )
)]
pub(super) async fn delete(
    State(auth): State<Auth>,
    _: Admin,
    ValidPath(id): ValidPath<i64>,
    _: NoBody,
) -> Result<Json<Done>, AuthError> {
    auth.send(CloseAccount { id, proof: None }).await?;
    Ok(Json(Done {
        message: "Account deleted successfully",
    }))
}

/// Tells which services hold nothing of a closed account any more.
#[utoipa::path(
    get, path = "/api/v1/users/{id}/erasure", operation_id = "users.erasure", tag = "users",
    params(("id" = i64, Path, description = "the closed account")),
    responses(
        (status = 200, description = "the services' answers so far", body = ErasureView),
        (status = 403, description = "`forbidden`: for admins"),
        (status = 404, description = "`user_not_found`: no closed account"),
    )
)]
pub(super) async fn erasure(
    State(auth): State<Auth>,
    _: Admin,
    ValidPath(id): ValidPath<i64>,
) -> Result<Json<ErasureView>, AuthError> {
    Ok(Json(auth.ask(ReadErasure { id }).await?.into()))
}
