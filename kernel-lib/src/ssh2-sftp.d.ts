/** A file of ssh2 that @types/ssh2 does not describe; cluster/openssh-sftp.ts says what of it is used. */
declare module "ssh2/lib/protocol/SFTP.js";
