//! The secret of the admin listener: given, or made up and left in a file that only its owner can read.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdir, open, openat, renameat, unlinkat,
};
use rustix::process::geteuid;
use subtle::ConstantTimeEq as _;

/// What opens the admin listener. Shows itself to nobody who prints it.
#[derive(Clone)]
pub struct Token(String);

/// The file of a token that was made up. Dropping it removes the file, unless another has taken its place.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    /// Open, so that its number is given to no other file meanwhile.
    file: File,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It could not be sent in a header.
    #[error(
        "the token of the admin listener is empty or has a space or an unusual character in it, expected visible ASCII"
    )]
    Unusual,
    /// Somebody else could have put it there, or could read it.
    #[error("`{path}` is not only ours: {what}")]
    NotOurs {
        /// The folder or the file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The system said no.
    #[error("`{path}`")]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Token {
    /// One that somebody chose.
    ///
    /// # Errors
    /// If it could not be sent in a header.
    pub fn given(text: &str) -> Result<Self, TokenError> {
        let is_usual = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_usual
            .then(|| Self(text.to_owned()))
            .ok_or(TokenError::Unusual)
    }

    /// A new one from the system's own chance, in a file named for the port. What is there of this name is from a process that had
    /// the port before.
    ///
    /// # Errors
    /// If the file can't be made where only we can read it.
    pub fn make(port: u16) -> Result<(Self, TokenFile), TokenError> {
        let token = Self::draw()?;
        let file = token.leave(port)?;
        Ok((token, file))
    }

    fn draw() -> Result<Self, TokenError> {
        random().map(Self).map_err(at(Path::new(RANDOM)))
    }

    /// Leaves it in a file named for the port.
    ///
    /// # Errors
    /// If the file can't be made where only we can read it.
    pub fn leave(&self, port: u16) -> Result<TokenFile, TokenError> {
        let path = folder();
        match mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(at(&path)(error.into())),
        }
        self.leave_in(&path, port)
    }

    fn leave_in(&self, path: &Path, port: u16) -> Result<TokenFile, TokenError> {
        let folder = open_folder(path)?;
        let name = file_name(port);
        // Written aside, so that who reads it finds all of the one before or all of this one.
        let aside = format!("{name}.{}", std::process::id());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&folder, &aside, flags, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            Err(rustix::io::Errno::EXIST) => {
                unlinkat(&folder, &aside, AtFlags::empty())
                    .map_err(|error| at(&path.join(&aside))(error.into()))?;
                create()
            }
            made => made,
        };
        let path_aside = path.join(&aside);
        let file = File::from(file.map_err(|error| at(&path_aside)(error.into()))?);
        let mut kept = TokenFile {
            path: path_aside,
            file,
        };
        io::Write::write_all(&mut kept.file, format!("{}\n", self.0).as_bytes())
            .map_err(at(&kept.path))?;
        let path = path.join(&name);
        renameat(&folder, &aside, &folder, &name).map_err(|error| at(&path)(error.into()))?;
        kept.path = path;
        Ok(kept)
    }

    /// The one that a process of ours left for the listener on this port, if there is one.
    ///
    /// # Errors
    /// If it can't be read, or is not only ours.
    pub fn find(port: u16) -> Result<Option<Self>, TokenError> {
        for folder in folders() {
            match open_folder(&folder).and_then(|opened| read_in(&opened, &folder, port)) {
                Ok(token) => return Ok(Some(token)),
                Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The one in this file.
    ///
    /// # Errors
    /// If it can't be read, or holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        File::open(path)
            .map_err(at(path))
            .and_then(|file| read_from(file, path))
    }

    /// Whether it is this one. Takes as long for a near miss as for a far one.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// To be sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let is_ours = match (self.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            (Ok(_) | Err(_), _) => false,
        };
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, file = %self.path.display(), "could not remove the token file");
        }
    }
}

/// Where a token file is made.
fn folder() -> PathBuf {
    folders().next().unwrap_or_else(folder_in_tmp)
}

/// Where a token file may be.
fn folders() -> impl Iterator<Item = PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.is_dir())
        .map(|path| path.join("rehearsal"));
    runtime.into_iter().chain([folder_in_tmp()])
}

fn folder_in_tmp() -> PathBuf {
    PathBuf::from(format!("/tmp/rehearsal-{}", geteuid().as_raw()))
}

fn file_name(port: u16) -> String {
    format!("admin-{port}.token")
}

/// Opens the folder, so that what was checked is also what is used.
fn open_folder(path: &Path) -> Result<OwnedFd, TokenError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(path, flags, Mode::empty()).map_err(|error| at(path)(error.into()))?;
    let stat = fstat(&folder).map_err(|error| at(path)(error.into()))?;
    check(&stat, path)?;
    Ok(folder)
}

fn read_in(folder: &OwnedFd, path: &Path, port: u16) -> Result<Token, TokenError> {
    let (name, path) = (file_name(port), path.join(file_name(port)));
    // Not to wait for the writer of a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        openat(folder, name, flags, Mode::empty()).map_err(|error| at(&path)(error.into()))?;
    let stat = fstat(&file).map_err(|error| at(&path)(error.into()))?;
    check(&stat, &path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_ours(&path, "it is no regular file"));
    }
    read_from(File::from(file), &path)
}

fn read_from(file: File, path: &Path) -> Result<Token, TokenError> {
    let mut text = String::new();
    file.take(FILE_MAX)
        .read_to_string(&mut text)
        .map_err(at(path))?;
    Token::given(text.trim())
}

/// That nobody else has or may read it.
fn check(stat: &Stat, path: &Path) -> Result<(), TokenError> {
    if stat.st_uid != geteuid().as_raw() {
        return Err(not_ours(path, "it belongs to another user"));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(not_ours(path, "others have rights to it"));
    }
    Ok(())
}

fn not_ours(path: &Path, what: &'static str) -> TokenError {
    TokenError::NotOurs {
        path: path.to_owned(),
        what,
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> TokenError {
    let path = path.to_owned();
    move |source| TokenError::Io {
        path: path.clone(),
        source,
    }
}

/// 256 bits, in hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open(RANDOM)?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written");
        text
    }))
}

/// The system's own chance.
const RANDOM: &str = "/dev/urandom";

/// More than any token has.
const FILE_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn ours() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn make_in(path: &Path, port: u16) -> Result<(Token, TokenFile), TokenError> {
        let token = Token::draw()?;
        let file = token.leave_in(path, port)?;
        Ok((token, file))
    }

    #[test]
    fn a_made_token_is_in_a_file_for_its_owner_alone_until_it_is_dropped() {
        let folder = ours();
        let (token, file) = make_in(folder.path(), 4711).unwrap();
        let path = folder.path().join("admin-4711.token");
        assert_eq!(file.path(), path);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let opened = open_folder(folder.path()).unwrap();
        let read = read_in(&opened, folder.path(), 4711).unwrap();
        assert!(token.is(read.reveal()) && token.reveal().len() == 64);
        assert_eq!(format!("{token:?}"), "Token(…)");
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_was_left_is_replaced_and_a_later_one_stays() {
        let folder = ours();
        let (first, first_file) = make_in(folder.path(), 1).unwrap();
        let (second, second_file) = make_in(folder.path(), 1).unwrap();
        assert!(!first.is(second.reveal()));
        drop(first_file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Token::read(second_file.path()).unwrap().is(second.reveal()));
    }

    #[test]
    fn a_link_in_the_place_of_the_file_is_not_followed() {
        let folder = ours();
        let target = folder.path().join("target");
        fs::write(&target, "kept").unwrap();
        symlink(&target, folder.path().join("admin-1.token")).unwrap();
        let (_, file) = make_in(folder.path(), 1).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert!(!fs::symlink_metadata(file.path()).unwrap().is_symlink());
        let link = folder.path().join("link");
        symlink(folder.path(), &link).unwrap();
        assert!(make_in(&link, 2).is_err());
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let folder = ours();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = make_in(folder.path(), 1).unwrap_err().to_string();
        assert!(error.ends_with("others have rights to it"), "{error}");
    }

    #[test]
    fn what_no_header_can_carry_is_no_token() {
        for text in ["", "a b", "a\nb", "ä"] {
            assert!(Token::given(text).is_err(), "{text:?}");
        }
    }
}
