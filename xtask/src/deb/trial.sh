# Run in a container by `cargo xtask deb --try`, as root, with the package in /package.
set -eu
export PYTHONDONTWRITEBYTECODE=1
said() { echo "    $*"; }
# All files, but for what the package manager and others keep about everything.
files() { find / -xdev \( -path /proc -o -path /sys -o -path /package -o -path /var/lib/dpkg -o -path /var/log \
    -o -path /var/cache/ldconfig -o -path /run -o -path /tmp \) -prune -o -print | sort; }
sum() { sort /etc/passwd /etc/group /etc/shadow /etc/gshadow | cksum; }
files > /tmp/before
users=$(sum)

dpkg --install /package/*.deb > /dev/null
said "$(dpkg-query --show ultrasimple)"
ultrasimple --version
ultrasimple-ctl --version
test "$(stat -c %U:%a /usr/bin/ultrasimple /usr/bin/ultrasimple-ctl | sort -u)" = root:755
getent passwd ultrasimple | grep -q nologin

said "pages, completions and the service"
for page in ultrasimple ultrasimple-ctl ultrasimple-ctl-shards; do
    zgrep -q '^\.TH' /usr/share/man/man1/$page.1.gz
done
for file in bash-completion/completions/ultrasimple fish/vendor_completions.d/ultrasimple-ctl.fish \
    zsh/vendor-completions/_ultrasimple doc/ultrasimple/copyright; do
    test -s /usr/share/$file
done
test -s /usr/lib/systemd/system/ultrasimple.service
systemd-analyze verify --man=no ultrasimple.service
systemd-analyze security --offline=true --threshold=20 --no-pager ultrasimple.service | tail -1

said "a backup by its own user and file, as the service makes it"
mkdir -p /srv/app /srv/backups && chown ultrasimple /srv/backups
python3 -c 'import sqlite3; d = sqlite3.connect("/srv/app/t1.db"); d.execute("CREATE TABLE t AS SELECT 42 AS x"); d.commit()'
sed -i 's|^#bucket = .*|bucket = "file:///srv/backups"|; s|^#pattern = .*|pattern = ["/srv/app/*.db"]|' \
    /etc/ultrasimple/ultrasimple.toml
setpriv --reuid=ultrasimple --regid=ultrasimple --clear-groups \
    ultrasimple -config /etc/ultrasimple/ultrasimple.toml -once -scratch /tmp/scratch
ultrasimple-ctl -config /etc/ultrasimple/ultrasimple.toml restore /srv/app/t1.db -o /srv/t1.db
python3 -c 'import sqlite3; assert sqlite3.connect("/srv/t1.db").execute("SELECT x FROM t").fetchone() == (42,)'

said "installed again: the settings stay"
dpkg --install /package/*.deb > /dev/null
grep -q '^bucket = "file:///srv/backups"' /etc/ultrasimple/ultrasimple.toml

said "removed: the settings stay; purged: nothing does"
echo ULTRASIMPLE_SECRET_KEY=x > /etc/ultrasimple/environment
dpkg --remove ultrasimple > /dev/null
test -s /etc/ultrasimple/ultrasimple.toml && ! test -e /usr/bin/ultrasimple
dpkg --purge ultrasimple > /dev/null
rm -r /srv/app /srv/backups /srv/t1.db
files > /tmp/after
diff /tmp/before /tmp/after
test "$(sum)" = "$users"
said "all is as it was"
