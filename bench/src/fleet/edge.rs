//! Traefik processes: one with this project's configuration, and some with less.

use std::path::Path;

use anyhow::Context;
use tempfile::TempDir;
use testkit::ports::free_port;
use testkit::stack::{Stack, output, project};
use tokio::process::Command;

use crate::Plan;
use crate::server::Server;

/// More than anybody asks here: the limit by address is in force and refuses nobody.
const NO_LIMIT: &str = "100000000";

/// The static configuration in the folder of each.
const CONFIG: &str = "traefik.yml";

/// A Traefik, and the folder it runs in.
pub struct Edge {
    pub server: Server,
    _folder: TempDir,
}

impl Edge {
    /// With the files of `traefik/`, in front of the auth at `auth_url` and of `service`, which stands for
    /// all others.
    pub async fn ours(
        plan: &Plan,
        stack: &Stack,
        auth_url: &str,
        service: &Server,
    ) -> anyhow::Result<Self> {
        let (mut command, port, folder) = configured(plan).await?;
        for other in stack.services() {
            let name = other.replace('-', "_").to_uppercase();
            command.env(format!("{name}_URL"), service.url());
        }
        command
            .env("AUTH_URL", auth_url)
            .env("FRONT_URL", stack.value("FRONT_URL").await?)
            .env("RATE_LIMIT_AVERAGE", NO_LIMIT)
            .env("RATE_LIMIT_BURST", NO_LIMIT);
        Self::start(command, port, "/.well-known/jwks.json", folder).await
    }

    /// With `traefik/traefik.yml`, so with its access log, metrics and traces, but with nothing of
    /// `traefik/dynamic/`: in its place stands what [`Self::bare`] has.
    pub async fn observed(plan: &Plan, auth: &Server, service: &Server) -> anyhow::Result<Self> {
        let (command, port, folder) = configured(plan).await?;
        let (dynamic, config) = (folder.path().join("dynamic"), folder.path().join(CONFIG));
        std::fs::create_dir(&dynamic)?;
        let text = std::fs::read_to_string(&config)?;
        let of_project = text
            .lines()
            .find(|line| line.starts_with("    directory: "));
        let of_project = of_project.context("traefik.yml names no folder of dynamic files")?;
        let own = format!("    directory: {}", dynamic.display());
        std::fs::write(&config, text.replace(of_project, &own))?;
        // The entry points have these on every router.
        let named = "    edge: &nothing {headers: {customResponseHeaders: {Server: ''}}}\n    \
                     hsts: *nothing\n";
        std::fs::write(dynamic.join("bare.yml"), one_router(auth, service, named))?;
        Self::start(command, port, "/", folder).await
    }

    /// One router, its forward-auth and one service, both with one empty handler.
    pub async fn bare(plan: &Plan, auth: &Server, service: &Server) -> anyhow::Result<Self> {
        let folder = plan.temp()?;
        let dynamic = folder.path().join("dynamic.yml");
        std::fs::write(&dynamic, one_router(auth, service, ""))?;
        let port = free_port();
        let mut command = traefik().await?;
        command
            .arg(format!("--entryPoints.web.address=127.0.0.1:{port}"))
            .arg(option("providers.file.filename", &dynamic))
            .arg("--global.checkNewVersion=false");
        Self::start(command, port, "/", folder).await
    }

    async fn start(
        command: Command,
        port: u16,
        path: &str,
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        let log = folder.path().join("traefik.log");
        Ok(Self {
            server: Server::start(command, port, path, &log).await?,
            _folder: folder,
        })
    }
}

/// A Traefik with the files of `traefik/`, and where it will listen.
async fn configured(plan: &Plan) -> anyhow::Result<(Command, u16, TempDir)> {
    let folder = plan.temp()?;
    let (port, secure, admin) = (free_port(), free_port(), free_port());
    let ports = [port, secure, admin].map(|port| port.to_string());
    let mut config = sourced("traefik_config \"$@\"");
    output(config.arg("-").arg(folder.path()).args(ports)).await?;
    let mut command = traefik().await?;
    command
        .arg(option("configFile", &folder.path().join(CONFIG)))
        .env("GOGC", "400"); // as compose and Kubernetes have it
    Ok((command, port, folder))
}

/// Everything to one service, once an auth has said yes; with `more` middlewares.
fn one_router(auth: &Server, service: &Server, more: &str) -> String {
    format!(
        "http:\n  \
           routers:\n    \
             all: {{rule: 'PathPrefix(`/`)', service: all, middlewares: [ask]}}\n  \
           middlewares:\n    \
             ask: {{forwardAuth: {{address: '{auth}/', trustForwardHeader: false}}}}\n\
         {more}  \
           services:\n    \
             all: {{loadBalancer: {{servers: [{{url: '{service}'}}]}}}}\n",
        auth = auth.url(),
        service = service.url(),
    )
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(format!("--{name}="));
    option.push(path);
    option
}

async fn traefik() -> anyhow::Result<Command> {
    let path = output(&mut sourced("fetch_traefik")).await?;
    Ok(Command::new(path.trim()))
}

/// A function of `scripts/lib/traefik.sh`.
fn sourced(call: &str) -> Command {
    let mut command = Command::new("bash");
    command.current_dir(project()).args([
        "-euc",
        &format!("for part in say wheel traefik; do . scripts/lib/$part.sh; done; {call}"),
    ]);
    command
}
