#!/bin/sh
# Write otlp-secret.yaml: the Secret obi-otlp-certs, with which the agents speak TLS to where their data goes.
#
#   make-otlp-certs.sh --ca ca.crt --cert tls.crt --key tls.key    certificates that somebody has issued
#   make-otlp-certs.sh --trial DIR [HOST]                          an authority of one's own, to try: also writes to DIR what the
#                                                                  receiver at HOST needs (server.crt, server.key, ca.crt)
#
#   --out FILE     default: otlp-secret.yaml beside this script; `-` is standard output
#   --days N       how long certificates of --trial last (90)
#   --force        write over a file that is there
#
# Then: kubectl apply -f otlp-secret.yaml. The file holds a private key: version control ignores it, and its mode is 0600. Agents read a
# changed Secret by themselves. Where cert-manager issues certificates, use kustomize/components/cert-manager and not this.
set -eu
umask 077

here=$(dirname "$0")
ca='' cert='' key='' trial='' host='localhost' out=$here/otlp-secret.yaml days=90 force=false

fail() {
	echo "make-otlp-certs: $*" >&2
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--force) force=true && shift && continue ;;
	-h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" && exit 0 ;;
	-*) [ $# -ge 2 ] || fail "$1 wants a value, or is no option; --help lists them" ;;
	esac
	case $1 in
	--ca) ca=$2 ;;
	--cert) cert=$2 ;;
	--key) key=$2 ;;
	--trial) trial=$2 ;;
	--out) out=$2 ;;
	--days) days=$2 ;;
	-*) fail "no option $1; --help lists them" ;;
	*) host=$1 && shift && continue ;;
	esac
	shift 2
done
command -v openssl >/dev/null || fail "openssl is missing"
[ "$out" = - ] || $force || [ ! -e "$out" ] || fail "$out is there already; --force writes over it"

issue() { # NAME SUBJECT EXTENSIONS: a key and a certificate that the trial's authority signs
	openssl req -newkey rsa:2048 -nodes -keyout "$trial/$1.key" -out "$trial/$1.csr" -subj "$2" 2>/dev/null
	printf '%s\n' "$3" >"$trial/$1.ext"
	openssl x509 -req -in "$trial/$1.csr" -CA "$trial/ca.crt" -CAkey "$trial/ca.key" -CAcreateserial -days "$days" -sha256 \
		-extfile "$trial/$1.ext" -out "$trial/$1.crt" 2>/dev/null
	rm "$trial/$1.csr" "$trial/$1.ext"
}

if [ -n "$trial" ]; then
	[ -z "$ca$cert$key" ] || fail "--trial makes its own certificates: leave --ca, --cert and --key out"
	mkdir -p "$trial"
	openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days "$days" -keyout "$trial/ca.key" -out "$trial/ca.crt" \
		-subj "/CN=OBI trial authority" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
	issue client "/CN=obi" "extendedKeyUsage=clientAuth"
	case $host in *[!0-9.]*) kind=DNS ;; *) kind=IP ;; esac
	issue server "/CN=$host" "subjectAltName=$kind:$host
extendedKeyUsage=serverAuth"
	rm -f "$trial/ca.key" "$trial/ca.srl"
	ca=$trial/ca.crt cert=$trial/client.crt key=$trial/client.key
fi
for given in "$ca" "$cert" "$key"; do
	[ -n "$given" ] || fail "give --ca, --cert and --key, or --trial DIR; --help says more"
done

for file in "$ca" "$cert"; do
	openssl x509 -in "$file" -noout 2>/dev/null || fail "$file is no certificate in PEM"
done
openssl pkey -in "$key" -noout 2>/dev/null || fail "$key is no private key in PEM without a password"
[ "$(openssl x509 -in "$cert" -noout -pubkey)" = "$(openssl pkey -in "$key" -pubout)" ] || fail "$key is not the key of $cert"
openssl x509 -in "$cert" -noout -checkend 0 >/dev/null || fail "$cert has expired"
openssl verify -partial_chain -CAfile "$ca" "$cert" >/dev/null 2>&1 ||
	echo "make-otlp-certs: note: $ca has not issued $cert: right only if it is the authority of the receiver alone" >&2

secret() {
	cat <<END
# Holds a private key; version control ignores this file.
apiVersion: v1
kind: Secret
metadata:
  name: obi-otlp-certs
  namespace: mop-system
  labels:
    app: obi
type: kubernetes.io/tls
data:
  ca.crt: $(base64 <"$ca" | tr -d '\n')
  tls.crt: $(base64 <"$cert" | tr -d '\n')
  tls.key: $(base64 <"$key" | tr -d '\n')
END
}

if [ "$out" = - ]; then
	secret
else
	secret >"$out.new" && mv "$out.new" "$out"
	echo "make-otlp-certs: $out; now: kubectl apply -f $out"
fi
