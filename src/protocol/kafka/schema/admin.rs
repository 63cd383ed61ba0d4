//! Requests about the broker: what it speaks, settings, access, where it keeps things.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{alter_configs_request, incremental_alter_configs_request};

use super::{BYTE, Field, I32S, TEXT, TEXTS, array};

/// The client's software: name and version.
pub(super) const API_VERSIONS: &[Field] = &[TEXT.since(3), TEXT.since(3)];

/// Whether to tell what may be done, which kind of endpoints, whether fenced brokers too.
pub(super) const DESCRIBE_CLUSTER: &[Field] = &[BYTE, BYTE.since(1), BYTE.since(2)];

pub(super) const DESCRIBE_LOG_DIRS: &[Field] = &[array::<DescribableLogDirTopic>(&[TEXT, I32S])];

/// Resources: type, name, keys; whether with synonyms, with documentation.
pub(super) const DESCRIBE_CONFIGS: &[Field] =
    &[array::<DescribeConfigsResource>(&[BYTE, TEXT, TEXTS]), BYTE, BYTE.since(3)];

/// Resources: type, name, settings; whether only to check.
pub(super) const ALTER_CONFIGS: &[Field] = &[
    array::<alter_configs_request::AlterConfigsResource>(&[
        BYTE,
        TEXT,
        array::<alter_configs_request::AlterableConfig>(&[TEXT, TEXT]),
    ]),
    BYTE,
];

/// The same; of a setting also what to do with it.
pub(super) const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    array::<incremental_alter_configs_request::AlterConfigsResource>(&[
        BYTE,
        TEXT,
        array::<incremental_alter_configs_request::AlterableConfig>(&[TEXT, BYTE, TEXT]),
    ]),
    BYTE,
];

/// Resource type, name, pattern type, principal, host, operation, permission.
const ACL: &[Field] = &[BYTE, TEXT, BYTE, TEXT, TEXT, BYTE, BYTE];

pub(super) const DESCRIBE_ACLS: &[Field] = ACL;
pub(super) const CREATE_ACLS: &[Field] = &[array::<AclCreation>(ACL)];
pub(super) const DELETE_ACLS: &[Field] = &[array::<DeleteAclsFilter>(ACL)];
