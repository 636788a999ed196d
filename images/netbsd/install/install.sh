#!/bin/sh
# Installs a system from the shell of an installation medium. What is installed stands in the variables
# of ./vars beside it: DISK, RAW, BOOT. Nothing is asked; each part says when it is done. It uses only
# what every installation medium has.
cd=${0%/*}
root=${ROOT:-/targetroot}
part=start

say() { echo "fallout: $*"; }
# $1 is what went wrong; the dialogue waits for these words.
failed() {
	say "failed in $part: $1"
	exit 1
}

say begins
. "$cd/vars" || failed "no vars on the CD"
mkdir -p $root 2>/dev/null || root=/tmp/root
mkdir -p $root || failed "no place to mount the disk"

part=label
disklabel -R -r "$DISK" "$cd/label" || failed disklabel
say "label done"

part=newfs
newfs -O 1 "/dev/r${DISK}a" || failed newfs
mount -o async "/dev/${DISK}a" $root || failed mount
say "newfs done"

part=sets
for set in "$cd"/sets/*; do
	echo "$set"
	case $set in
	*.xz) xz -dc "$set" | (cd $root && pax -r -pe) ;;
	*) gzip -dc "$set" | (cd $root && pax -r -pe) ;;
	esac || failed "$set"
done
for file in netbsd sbin/init etc/rc bin/sh; do
	[ -f $root/$file ] || failed "the sets have no $file"
done
say "sets done"

part=devices
chroot $root /bin/sh -c 'cd /dev && sh MAKEDEV all' || failed MAKEDEV
say "devices done"

part=configuration
(cd $root && pax -r -pe <"$cd/overlay.tar") || failed "the configuration"
[ -f $root/etc/fstab ] || failed "there is no etc/fstab"
say "configuration done"

part=boot
chroot $root /bin/sh -ec "$BOOT" || failed "boot blocks"
say "boot done"

part=unmounting
cd /
umount $root || failed umount
say installed
