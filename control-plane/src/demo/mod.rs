//! The demo: one organization with people, projects, keys and a provider, so that the
//! first look finds something to look at. Made through the same verbs that people use.

use clap::Args;
use secrecy::SecretString;
use shared::config::secret;
use url::Url;

/// Who can sign in to the demo, and the key that its curl line uses.
#[derive(Args, Clone, Debug)]
pub struct Logins {
    #[arg(long, env = "TURNPIKE_OWNER_EMAIL")]
    pub owner_email: String,
    #[arg(long, env = "TURNPIKE_OWNER_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub owner_password: SecretString,
    #[arg(long, env = "TURNPIKE_BILLING_EMAIL")]
    pub billing_email: String,
    #[arg(long, env = "TURNPIKE_BILLING_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub billing_password: SecretString,
    #[arg(long, env = "TURNPIKE_DEVELOPER_EMAIL")]
    pub developer_email: String,
    #[arg(long, env = "TURNPIKE_DEVELOPER_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub developer_password: SecretString,
    #[arg(long, env = "TURNPIKE_OPERATOR_EMAIL")]
    pub operator_email: String,
    #[arg(long, env = "TURNPIKE_OPERATOR_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub operator_password: SecretString,
    #[arg(long, env = "TURNPIKE_API_KEY", value_parser = secret, hide_env_values = true)]
    pub api_key: SecretString,
    /// The provider simulator.
    #[arg(long, env = "TURNPIKE_SIMULATOR_URL")]
    pub simulator_url: Url,
}
