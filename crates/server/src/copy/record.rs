//! Records by their keys.

use model::{
    Block, CaCertificate, Cleanup, EnrollmentGroup, IndividualEnrollment, Registration, RevocationList,
};
use provisioning::ports::Change;

/// A record that is copied.
pub(super) trait Record: PartialEq + Sized {
    /// Returns its key, in whose order it is listed.
    fn key(&self) -> String;

    /// Returns the change that writes it.
    fn put(self) -> Change;

    /// Returns the change that deletes it.
    fn delete(self) -> Change;
}

impl Record for IndividualEnrollment {
    fn key(&self) -> String {
        self.registration_id.key().into_owned()
    }

    fn put(self) -> Change {
        Change::PutIndividual(Box::new(self))
    }

    fn delete(self) -> Change {
        Change::DeleteIndividual(self.registration_id)
    }
}

impl Record for EnrollmentGroup {
    fn key(&self) -> String {
        self.group_id.key().into_owned()
    }

    fn put(self) -> Change {
        Change::PutGroup(Box::new(self))
    }

    fn delete(self) -> Change {
        Change::DeleteGroup(self.group_id)
    }
}

impl Record for Registration {
    fn key(&self) -> String {
        self.registration_id.key().into_owned()
    }

    fn put(self) -> Change {
        Change::PutRegistration(Box::new(self))
    }

    fn delete(self) -> Change {
        Change::DeleteRegistration(self.registration_id)
    }
}

impl Record for Cleanup {
    fn key(&self) -> String {
        self.residue.hub_device.key().into_owned()
    }

    fn put(self) -> Change {
        Change::PutCleanup(Box::new(self))
    }

    fn delete(self) -> Change {
        Change::DeleteCleanup(self.residue.hub_device)
    }
}

impl Record for CaCertificate {
    fn key(&self) -> String {
        self.name.key().into_owned()
    }

    fn put(self) -> Change {
        Change::PutCertificate(Box::new(self))
    }

    fn delete(self) -> Change {
        Change::DeleteCertificate(self.name)
    }
}

impl Record for RevocationList {
    fn key(&self) -> String {
        // The names of CAs hold no line feed.
        format!("{}\n{}", self.authority.key(), self.id)
    }

    fn put(self) -> Change {
        Change::PutRevocationList(Box::new(self))
    }

    fn delete(self) -> Change {
        Change::DeleteRevocationList(self.authority, self.id)
    }
}

impl Record for Block {
    fn key(&self) -> String {
        self.thumbprint.as_str().to_owned()
    }

    fn put(self) -> Change {
        Change::PutBlock(Box::new(self))
    }

    fn delete(self) -> Change {
        Change::DeleteBlock(self.thumbprint)
    }
}
