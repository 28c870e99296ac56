//! Routes. Paths are compared without regard to case, as in Resource Manager.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::disks::DiskKind;
use super::galleries::GalleryLevel;
use super::machines;

/// An action on the access to a disk or snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessVerb {
    Begin,
    End,
}

/// An action on a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PowerVerb {
    Deallocate,
    Start,
}

/// The kind of resource that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Subscriptions,
    Subscription,
    Locations,
    Provider,
    Register,
    Groups,
    Group,
    Images,
    Image,
    Disks(DiskKind),
    Disk(DiskKind),
    Access(DiskKind, AccessVerb),
    Machines,
    Machine,
    Galleries(GalleryLevel),
    Gallery(GalleryLevel),
    SoftDeleted,
    Power(PowerVerb),
    Accounts,
    Account,
    Permissions,
    RoleAssignments,
    Locks,
    Lock,
    Operation,
    DiskOperation,
}

impl Kind {
    /// The resource type, by which requests are counted.
    pub(super) fn resource_type(self) -> &'static str {
        match self {
            Self::Subscriptions | Self::Subscription => "Microsoft.Resources/subscriptions",
            Self::Locations => "Microsoft.Resources/subscriptions/locations",
            Self::Provider | Self::Register => "Microsoft.Resources/subscriptions/providers",
            Self::Groups | Self::Group => "Microsoft.Resources/subscriptions/resourceGroups",
            Self::Images | Self::Image => "Microsoft.Compute/images",
            Self::Machines | Self::Machine | Self::Power(_) => machines::TYPE,
            Self::Galleries(level) | Self::Gallery(level) => level.resource_type(),
            Self::SoftDeleted => "Microsoft.Compute/galleries/softDeletedArtifactTypes/artifacts/versions",
            Self::Accounts | Self::Account => "Microsoft.Storage/storageAccounts",
            Self::Permissions => "Microsoft.Authorization/permissions",
            Self::RoleAssignments => "Microsoft.Authorization/roleAssignments",
            Self::Locks | Self::Lock => "Microsoft.Authorization/locks",
            Self::Disks(kind) | Self::Disk(kind) | Self::Access(kind, _) => kind.resource_type(),
            Self::Operation => "Microsoft.Compute/locations/capsOperations",
            Self::DiskOperation => "Microsoft.Compute/locations/DiskOperations",
        }
    }

    /// The supported API version. Source: the published specifications, see the module documentation of `arm`.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Subscriptions | Self::Subscription | Self::Locations => "2022-12-01",
            Self::Provider | Self::Register => "2025-04-01",
            Self::Groups | Self::Group | Self::Images | Self::Image | Self::Operation => "2025-04-01",
            Self::Disks(_) | Self::Disk(_) | Self::Access(..) | Self::DiskOperation => "2025-01-02",
            Self::Machines | Self::Machine | Self::Power(_) => "2025-04-01",
            Self::Galleries(level) | Self::Gallery(level) => level.version(),
            Self::SoftDeleted => "2024-03-03",
            Self::Accounts | Self::Account => "2025-01-01",
            Self::Permissions | Self::RoleAssignments => "2022-04-01",
            Self::Locks | Self::Lock => "2020-05-01",
        }
    }

    /// The provider that must be registered for it.
    pub(super) fn namespace(self) -> Option<&'static str> {
        match self {
            Self::Images | Self::Image | Self::Operation | Self::DiskOperation => Some("Microsoft.Compute"),
            Self::Disks(_) | Self::Disk(_) | Self::Access(..) => Some("Microsoft.Compute"),
            Self::Machines | Self::Machine | Self::Power(_) => Some("Microsoft.Compute"),
            Self::Galleries(_) | Self::Gallery(_) | Self::SoftDeleted => Some("Microsoft.Compute"),
            Self::Accounts | Self::Account => Some("Microsoft.Storage"),
            _ => None,
        }
    }

    /// The allowed methods. Source: the published specifications, as far as the double supports them.
    pub(super) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Image => [Method::GET, Method::PUT, Method::PATCH, Method::DELETE].contains(method),
            Self::Disk(_) | Self::Lock | Self::Machine | Self::Gallery(_) => {
                [Method::GET, Method::PUT, Method::DELETE].contains(method)
            }
            Self::Access(..) | Self::Power(_) | Self::Register => method == Method::POST,
            Self::Group => [Method::GET, Method::PUT, Method::HEAD].contains(method),
            _ => method == Method::GET,
        }
    }

    /// Whether it is the address of an operation. Such addresses are opaque.
    pub(super) fn is_operation(self) -> bool {
        matches!(self, Self::Operation | Self::DiskOperation)
    }

    /// The action that a principal needs permission for.
    pub(super) fn action(self, method: &Method) -> String {
        let verb = match *method {
            _ if matches!(self, Self::Access(_, AccessVerb::Begin)) => "beginGetAccess/action",
            _ if matches!(self, Self::Access(_, AccessVerb::End)) => "endGetAccess/action",
            _ if matches!(self, Self::Power(PowerVerb::Deallocate)) => "deallocate/action",
            _ if matches!(self, Self::Power(PowerVerb::Start)) => "start/action",
            _ if self == Self::Register => "register/action",
            Method::GET | Method::HEAD => "read",
            Method::DELETE => "delete",
            _ => "write",
        };
        format!("{}/{verb}", self.resource_type())
    }
}

/// A parsed path. Names keep their case.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) kind: Kind,
    pub(super) subscription: Option<String>,
    pub(super) group: Option<String>,
    /// The last name: of the group, image, account or provider.
    pub(super) name: String,
    /// The scope of the action: the resource, or the parent of a list.
    pub(super) scope: String,
}

impl Route {
    pub(super) fn parse(path: &str) -> Option<Self> {
        // An empty segment stands for an empty 'parentResourcePath' of the specification.
        let parts = path.split('/').filter(|part| !part.is_empty()).map(|part| percent_decode_str(part).decode_utf8());
        let parts = parts.collect::<Result<Vec<_>, _>>().ok()?;
        let lower = parts.iter().map(|part| part.to_ascii_lowercase()).collect::<Vec<_>>();
        let words = lower.iter().map(String::as_str).collect::<Vec<_>>();
        let kind = kind(&words)?;
        let scope_length = match kind {
            Kind::Permissions | Kind::RoleAssignments | Kind::Locks => parts.len() - 3,
            Kind::Lock => parts.len() - 4,
            Kind::Groups | Kind::Locations => 2,
            Kind::Images | Kind::Disks(_) | Kind::Machines | Kind::Accounts => parts.len() - 3,
            Kind::Galleries(GalleryLevel::Gallery | GalleryLevel::Collection) => parts.len() - 3,
            Kind::Galleries(_) => parts.len() - 1,
            Kind::SoftDeleted => parts.len() - 5,
            Kind::Access(..) | Kind::Power(_) | Kind::Register => parts.len() - 1,
            _ => parts.len(),
        };
        let group = (words.get(2) == Some(&"resourcegroups")).then(|| parts.get(3)).flatten();
        Some(Self {
            kind,
            subscription: parts.get(1).map(ToString::to_string),
            group: group.map(ToString::to_string),
            // The name of the resource, not that of the action on it.
            name: match kind {
                Kind::Access(..) | Kind::Power(_) | Kind::Register | Kind::SoftDeleted => parts.get(parts.len() - 2),
                _ => parts.last(),
            }
            .map(ToString::to_string)
            .unwrap_or_default(),
            scope: format!("/{}", parts[..scope_length].join("/")),
        })
    }
}

fn kind(words: &[&str]) -> Option<Kind> {
    let ["subscriptions", rest @ ..] = words else { return None };
    let scoped = |last: &str, what: &[&str]| match last {
        // Source: specification: permissions are available at groups and at resources only.
        "permissions" if what.first() == Some(&"resourcegroups") => Some(Kind::Permissions),
        "roleassignments" => Some(Kind::RoleAssignments),
        "locks" => Some(Kind::Locks),
        _ => None,
    };
    match rest {
        [] => Some(Kind::Subscriptions),
        [_] => Some(Kind::Subscription),
        [_, "locations"] => Some(Kind::Locations),
        [_, "resourcegroups"] => Some(Kind::Groups),
        [_, "resourcegroups", _] => Some(Kind::Group),
        [_, "providers", _] => Some(Kind::Provider),
        [_, "providers", _, "register"] => Some(Kind::Register),
        [_, "providers", "microsoft.compute", "locations", _, "capsoperations", _] => Some(Kind::Operation),
        [_, "providers", "microsoft.compute", "locations", _, "diskoperations", _] => Some(Kind::DiskOperation),
        [_, what @ .., "providers", "microsoft.authorization", last] => scoped(last, what),
        [_, .., "providers", "microsoft.authorization", "locks", _] => Some(Kind::Lock),
        [_, "resourcegroups", _, "providers", "microsoft.compute", "images"] => Some(Kind::Images),
        [_, "providers", "microsoft.compute", "images"] => Some(Kind::Images),
        [_, "resourcegroups", _, "providers", "microsoft.compute", "images", _] => Some(Kind::Image),
        [_, "resourcegroups", _, "providers", "microsoft.compute", "virtualmachines"]
        | [_, "providers", "microsoft.compute", "virtualmachines"] => Some(Kind::Machines),
        [_, "resourcegroups", _, "providers", "microsoft.compute", "virtualmachines", _] => Some(Kind::Machine),
        [_, "resourcegroups", _, "providers", "microsoft.compute", "virtualmachines", _, "deallocate"] => {
            Some(Kind::Power(PowerVerb::Deallocate))
        }
        [_, "resourcegroups", _, "providers", "microsoft.compute", "virtualmachines", _, "start"] => {
            Some(Kind::Power(PowerVerb::Start))
        }
        [_, "resourcegroups", _, "providers", "microsoft.compute", "galleries", below @ ..] => gallery(below),
        [_, "resourcegroups", _, "providers", "microsoft.compute", "restorepointcollections", below @ ..] => {
            restore_point(below)
        }
        [_, "providers", "microsoft.compute", "galleries"] => Some(Kind::Galleries(GalleryLevel::Gallery)),
        [_, "resourcegroups", _, "providers", "microsoft.compute", what]
        | [_, "providers", "microsoft.compute", what] => disk_kind(what).map(Kind::Disks),
        [_, "resourcegroups", _, "providers", "microsoft.compute", what, _] => disk_kind(what).map(Kind::Disk),
        [_, "resourcegroups", _, "providers", "microsoft.compute", what, _, "begingetaccess"] => {
            disk_kind(what).map(|kind| Kind::Access(kind, AccessVerb::Begin))
        }
        [_, "resourcegroups", _, "providers", "microsoft.compute", what, _, "endgetaccess"] => {
            disk_kind(what).map(|kind| Kind::Access(kind, AccessVerb::End))
        }
        [_, "resourcegroups", _, "providers", "microsoft.storage", "storageaccounts"] => Some(Kind::Accounts),
        [_, "providers", "microsoft.storage", "storageaccounts"] => Some(Kind::Accounts),
        [_, "resourcegroups", _, "providers", "microsoft.storage", "storageaccounts", _] => Some(Kind::Account),
        _ => None,
    }
}

fn gallery(below: &[&str]) -> Option<Kind> {
    match below {
        [] => Some(Kind::Galleries(GalleryLevel::Gallery)),
        [_] => Some(Kind::Gallery(GalleryLevel::Gallery)),
        [_, "images"] => Some(Kind::Galleries(GalleryLevel::Definition)),
        [_, "images", _] => Some(Kind::Gallery(GalleryLevel::Definition)),
        [_, "images", _, "versions"] => Some(Kind::Galleries(GalleryLevel::Version)),
        [_, "images", _, "versions", _] => Some(Kind::Gallery(GalleryLevel::Version)),
        [_, "softdeletedartifacttypes", "images", "artifacts", _, "versions"] => Some(Kind::SoftDeleted),
        _ => None,
    }
}

fn restore_point(below: &[&str]) -> Option<Kind> {
    match below {
        [] => Some(Kind::Galleries(GalleryLevel::Collection)),
        [_] => Some(Kind::Gallery(GalleryLevel::Collection)),
        [_, "restorepoints", _] => Some(Kind::Gallery(GalleryLevel::RestorePoint)),
        _ => None,
    }
}

fn disk_kind(segment: &str) -> Option<DiskKind> {
    match segment {
        "disks" => Some(DiskKind::Disk),
        "snapshots" => Some(DiskKind::Snapshot),
        _ => None,
    }
}

/// A decoded query. Names are compared without regard to case.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs =
            query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_case_insensitively() {
        let route =
            Route::parse("/SUBSCRIPTIONS/s/resourcegroups/Gr%C3%BCn/PROVIDERS/microsoft.COMPUTE/Images/One").unwrap();
        assert_eq!((route.kind, route.name.as_str(), route.group.as_deref()), (Kind::Image, "One", Some("Grün")));
        let path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage//storageAccounts/a\
                    /providers/Microsoft.Authorization/permissions";
        let route = Route::parse(path).unwrap();
        assert_eq!(route.kind, Kind::Permissions);
        assert_eq!(route.scope, "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a");
        assert!(Route::parse("/subscriptions/s/providers/Microsoft.Authorization/permissions").is_none());
        let compute = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute";
        let route = Route::parse(&format!("{compute}/snapshots/One/BeginGetAccess")).unwrap();
        assert_eq!(route.kind, Kind::Access(DiskKind::Snapshot, AccessVerb::Begin));
        assert_eq!((route.name.as_str(), route.scope), ("One", format!("{compute}/snapshots/One")));
        let version = Route::parse(&format!("{compute}/Galleries/m/images/i/Versions/1.0.0")).unwrap();
        assert_eq!((version.kind, version.name.as_str()), (Kind::Gallery(GalleryLevel::Version), "1.0.0"));
        let list = Route::parse(&format!("{compute}/galleries/m/images")).unwrap();
        assert_eq!(list.scope, format!("{compute}/galleries/m"));
        assert!(Route::parse(&format!("{compute}/galleries/m/applications/a")).is_none());
    }
}
