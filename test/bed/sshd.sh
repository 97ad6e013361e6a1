# Sourced by up.sh: a login node for each way in. All share users and keys; README.md lists them.
S=$STATE/sshd
mkdir -p "$S/bin" "$S/duo"
chmod 755 "$S" "$S/duo"
gcc -Wall -Werror -fPIC -shared -o "$S/pam_duo_bed.so" "$HERE/pam_duo_bed.c" -lpam &
compiler=$!
install -m 755 "$HERE/login_duo.sh" "$HERE/drop.sh" "$S/bin/"
printf '*** %s: a toy cluster for tests. ***\n' "$NAME" >"$S/banner"

# ---- keys -------------------------------------------------------------------------------------------------------
makers=()
key() { # key FILE TYPE PASSPHRASE [OPTION...]: made once, side by side
  local file=$1 type=$2 phrase=$3
  shift 3
  [ -e "$file" ] && return
  ssh-keygen -q -t "$type" "$@" -N "$phrase" -C "$(basename "$file")@$NAME" -f "$file" &
  makers+=($!)
}
K=$STATE/keys
key "$S/host_ed25519" ed25519 ''
key "$S/host_other" ed25519 ''
key "$S/ca" ed25519 ''
key "$K/id_ed25519" ed25519 ''
key "$K/id_ecdsa" ecdsa ''
key "$K/id_rsa" rsa '' -b 3072
key "$K/id_passphrase" ed25519 'correct horse'
key "$K/id_certified" ed25519 ''
key "$K/id_stranger" ed25519 ''
for p in "$compiler" ${makers[@]+"${makers[@]}"}; do wait "$p" || die "A key or the PAM module could not be made."; done
cat "$K"/id_{ed25519,ecdsa,rsa,passphrase}.pub >"$S/authorized_keys"
[ -e "$K/id_certified-cert.pub" ] || ssh-keygen -q -s "$S/ca" -I bed -n "${USERS// /,}" "$K/id_certified.pub"
[ -e "$S/host_ed25519-cert.pub" ] || ssh-keygen -q -s "$S/ca" -I host -h -n 127.0.0.1,localhost "$S/host_ed25519.pub"

# ---- second factors ---------------------------------------------------------------------------------------------
[ -e "$S/totp.hex" ] || head -c 20 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$S/totp.hex"
chmod 600 "$S/totp.hex"
for u in $USERS; do
  printf 'HOTP/T30/6\t%s\t-\t%s\n' "$u" "$(cat "$S/totp.hex")"
  # What the toy Duo goes by: how a push is answered, and the passcodes that are good for one use each.
  for f in push passcodes; do
    [ -e "$S/duo/$u.$f" ] || : >"$S/duo/$u.$f"
    chown "$u" "$S/duo/$u.$f"
    chmod 600 "$S/duo/$u.$f"
  done
done >"$S/users.oath"
chmod 600 "$S/users.oath"

pam() { # pam SERVICE, its auth lines on stdin
  { cat; say 'account required pam_unix.so'; say 'session required pam_unix.so'; } >"/etc/pam.d/yale-$NAME-$1"
}
pam duo <<<"auth required $S/pam_duo_bed.so dir=$S/duo"
pam menu <<<"auth required $S/pam_duo_bed.so dir=$S/duo menu=long"
pam method <<P
auth requisite pam_unix.so
auth required $S/pam_duo_bed.so dir=$S/duo autopush
P
pam totp <<<"auth required pam_oath.so usersfile=$S/users.oath window=20 digits=6"
pam password <<P
auth requisite pam_unix.so
auth required pam_oath.so usersfile=$S/users.oath window=20 digits=6
P

# ---- sshd -------------------------------------------------------------------------------------------------------
mkdir -p /run/sshd
PORTS=
next=$((PORT0 + 10))
variant() { # variant NAME PAM-SERVICE HOST-KEY [SFTP-SERVER]: a login node; what is special about it on stdin
  local name=$1 bin="$S/bin/yale-$NAME-$2" port=$next identity=id_ed25519
  next=$((next + 1))
  # sshd asks PAM for the service that it is called by itself.
  ln -sfn "$(command -v sshd)" "$bin"
  {
    cat
    cat <<C
Port $port
ListenAddress 127.0.0.1
HostKey $3
PidFile none
UsePAM yes
StrictModes no
AllowUsers $USERS
AuthorizedKeysFile $S/authorized_keys
PasswordAuthentication no
PermitRootLogin no
PrintMotd no
UseDNS no
LogLevel VERBOSE
MaxStartups 100
SetEnv SLURM_CONF=$SLURM_CONF${preload:+ LD_PRELOAD=$preload}
Subsystem sftp ${4:-/usr/lib/openssh/sftp-server}
C
  } >"$S/$name.conf"
  "$bin" -t -f "$S/$name.conf" || die "The configuration $S/$name.conf is wrong."
  daemon "sshd-$name" root "$bin" -D -e -f "$S/$name.conf"
  PORTS="$PORTS $name=$port"
  case $name in
    cert)
      identity=id_certified
      say "@cert-authority [127.0.0.1]:$port $(cut -d' ' -f1,2 "$S/ca.pub")" >>"$STATE/known_hosts"
      ;;
    *) say "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$S/host_ed25519.pub")" >>"$STATE/known_hosts" ;;
  esac
  cat >>"$STATE/ssh_config" <<C
Host $NAME-$name
  HostName 127.0.0.1
  Port $port
  User ${USERS%% *}
  IdentityFile $K/$identity
  IdentitiesOnly yes
C
  cat >>"$STATE/config.yaml" <<C
  $name:
    host: 127.0.0.1
    port: $port
    user: ${USERS%% *}
    identity: $K/$identity
    scheduler: slurm
    job_dir: ~/yale-jobs
    model: tesseract
    poll_seconds: 1
C
  # ssh2 knows no certificates.
  [ "$name" != cert ] || say "    transport: openssh" >>"$STATE/config.yaml"
}

: >"$STATE/known_hosts"
say "UserKnownHostsFile $STATE/known_hosts" >"$STATE/ssh_config"
say $'default: duo\nclusters:' >"$STATE/config.yaml"
HOST_KEY=$S/host_ed25519
KEY_ONLY=$'AuthenticationMethods publickey\nKbdInteractiveAuthentication no'
KEY_AND_FACTOR='AuthenticationMethods publickey,keyboard-interactive'
variant key duo "$HOST_KEY" <<<"$KEY_ONLY"
variant duo duo "$HOST_KEY" <<<"$KEY_AND_FACTOR"$'\n'"Banner $S/banner"
variant menu menu "$HOST_KEY" <<<"$KEY_AND_FACTOR"$'\nMaxAuthTries 2'
variant totp totp "$HOST_KEY" <<<"$KEY_AND_FACTOR"
variant password password "$HOST_KEY" <<<'AuthenticationMethods keyboard-interactive'
variant method method "$HOST_KEY" <<<$'AuthenticationMethods password\nKbdInteractiveAuthentication no\nPasswordAuthentication yes'
variant command duo "$HOST_KEY" <<<"$KEY_ONLY"$'\n'"ForceCommand $S/bin/login_duo.sh $S/duo"
variant drop duo "$HOST_KEY" "$S/bin/drop.sh $S/drop" <<<"$KEY_ONLY"
variant changed duo "$S/host_other" <<<"$KEY_ONLY"
variant few duo "$HOST_KEY" <<<"$KEY_ONLY"$'\nMaxSessions 2\nRekeyLimit 16M'
variant cert duo "$HOST_KEY" <<C
$KEY_ONLY
AuthorizedKeysFile none
TrustedUserCAKeys $S/ca.pub
HostCertificate $S/host_ed25519-cert.pub
C
say "8388608" >"$S/drop"

sshd_ready() {
  local p
  for p in $PORTS; do (exec 3<>"/dev/tcp/127.0.0.1/${p#*=}") || return 1; done
}
