/* clang-format off */ /* a table: one row a line */
/* Every error Keyline can report, once: identifier, name, class, what to do next.
 * The name goes over the bus as org.keyline.Error.<name>, into the registry's runs and events,
 * and onto the operator's screen; docs/errors.md is checked against this list by a test.
 * The class alone decides what the program does (err.h). */

/* general */
ERR(BUG, "Bug", BUG, "This is a defect in Keyline: keep the log and report it.")
ERR(NOMEM, "NoMemory", STORE, "The station is out of memory: close other programs, restart the appliance.")
ERR(IO, "Io", STORE, "A file could not be read or written: check the disk and the permissions.")
ERR(DISK_FULL, "DiskFull", STORE, "The disk is full: make room, then the line goes on by itself.")
ERR(ARGUMENT, "BadArgument", OPERATOR, "Correct the command; --help shows examples.")
ERR(CONFIG, "Config", OPERATOR, "Correct keyline.conf; 'keyline --help' names the manual page.")
ERR(NOT_FOUND, "NotFound", OPERATOR, "Check the name; the list commands show what there is.")
ERR(EXISTS, "Exists", OPERATOR, "It is there already: choose another name or use the existing one.")
ERR(BAD_STATE, "BadState", OPERATOR, "This step is not allowed now: look at its state first.")
ERR(LIMIT, "Limit", OPERATOR, "It is larger than Keyline accepts: split it.")
ERR(DENIED, "Denied", PEER, "This user may not do that: use an account that may.")
ERR(PROTOCOL, "Protocol", PEER, "Two parts of Keyline disagree: check that all have the same version.")
ERR(TIMEOUT, "Timeout", RETRY, "It hangs or has too much to do. What Keyline does by itself is tried again; give a command again.")
ERR(UNAVAILABLE, "Unavailable", RETRY, "A part of the appliance is not running: start it with 'keyline run'.")
ERR(INTERRUPTED, "Interrupted", RETRY, "The run was interrupted: put the device in again, it goes on where it was.")

/* manifests and jobs */
ERR(MANIFEST, "Manifest", OPERATOR, "Correct the rows named and import the file again; nothing was imported.")
ERR(NO_JOB, "NoJob", OPERATOR, "No approved job waits for this device: approve the job first.")

/* authority */
ERR(TICKET, "BadTicket", OPERATOR, "The approval is damaged or forged: have the job approved again.")
ERR(ORDER, "BadOrder", OPERATOR, "The order is damaged, forged or not possible: sign it again with keyline device revoke.")
ERR(TICKET_UNTRUSTED, "UntrustedApprover", OPERATOR, "The approver is not among the signer's trust anchors: use an approver that is, or add the certificate to etc/approvers.pem.")
ERR(TICKET_EXPIRED, "TicketExpired", OPERATOR, "The approval is not valid now: check the clock, or approve again.")
ERR(TICKET_STATION, "WrongStation", OPERATOR, "The approval is for other stations: run the job there, or approve it for this one.")
ERR(JOB_WITHDRAWN, "Withdrawn", OPERATOR, "The approval of this job was withdrawn for ever: import and approve a new job.")
ERR(QUOTA, "Quota", OPERATOR, "The approved quantity is used up: have a larger quantity approved.")
ERR(PROOF, "NotAuthorised", OPERATOR, "This row is not in the approved manifest: import the approved file.")
ERR(PROFILE, "Profile", OPERATOR, "The certificate profile is unknown, faulty, not the one approved, or does not fit the row: see 'keyline profile check'.")

/* certification */
ERR(KEY_ORIGIN, "KeyOrigin", OPERATOR, "The device cannot make its key: have a job approved whose keys the signer makes (job import --keys signer), and set [signer] born_keys.")
ERR(NONCE, "StaleNonce", RETRY, "The request took too long or the signer was restarted: it is tried again.")
ERR(CSR, "BadRequest", DEVICE, "The device's certificate request is malformed: set the device aside.")
ERR(POSSESSION, "NoPossession", DEVICE, "The device did not prove that it holds its key: set the device aside.")
ERR(KEY_TYPE, "KeyType", DEVICE, "The device's key is of a type the profile does not allow.")
ERR(KEY_WEAK, "WeakKey", DEVICE, "The device's key is weak, or others know it: set the device aside.")
ERR(KEY_REUSED, "KeyReused", DEVICE, "Another device has this very key, or it was revoked as compromised: set the devices aside.")
ERR(KEY_CHANGED, "KeyChanged", OPERATOR, "The device has a certificate for another key: a supervisor must allow a re-issue (keyline device reissue).")
ERR(CERT_REVOKED, "Revoked", OPERATOR, "The device's certificate was revoked: a new one needs a re-issue job (keyline device reissue).")

/* an approver's card */
ERR(CARD_ABSENT, "CardAbsent", OPERATOR, "Insert the card, or correct the URI after --key, or --module.")
ERR(CARD_AMBIGUOUS, "CardAmbiguous", OPERATOR, "Add token=, serial=, object= or id= to the URI after --key until one fits.")
ERR(CARD_PIN, "CardPin", OPERATOR, "It was tried once only and nothing was signed: make sure of the PIN first, a card locks itself.")
ERR(CARD_LOCKED, "CardLocked", OPERATOR, "Unlock the card with its PUK, using its maker's tool.")
ERR(CARD, "CardFailed", OPERATOR, "Check the card, its reader and its PKCS#11 module; 'pkcs11-tool -O' of opensc shows what is on it.")

/* the token */
ERR(TOKEN_ABSENT, "TokenAbsent", HSM, "The HSM is not there: connect it, or correct [token] in keyline.conf.")
ERR(TOKEN_PIN, "TokenPin", HSM, "Correct the PIN file, then restart the signer: a PIN that the HSM refuses is tried once only.")
ERR(TOKEN_LOGIN, "TokenLogin", HSM, "The HSM refused the login without a reason; it may be the PIN: make sure of the PIN file and of the HSM's state.")
ERR(TOKEN_LOCKED, "TokenLocked", HSM, "The HSM's PIN is locked: unlock it with its security officer PIN.")
ERR(TOKEN_FULL, "TokenFull", HSM, "The HSM has no room left: remove unused objects.")
ERR(TOKEN_BUSY, "TokenBusy", HSM, "The HSM lost or refused a session; it is tried again by itself. If it stays: fewer [token] workers.")
ERR(TOKEN_REFUSED, "TokenRefused", HSM, "The HSM does not allow this use of the key: check the key's attributes and the HSM's policy.")
ERR(TOKEN, "TokenFailed", HSM, "The HSM does not work: check its cable and its state.")
ERR(KEY_POLICY, "KeyPolicy", HSM, "The CA key could leave the HSM: create it sensitive and not extractable.")
ERR(CA_EXPIRED, "CaExpired", HSM, "The CA's certificate is not valid now: check the clock, or roll the CA over with 'keyline ca rollover' or 'ca request'.")
ERR(NO_CA, "NoCa", OPERATOR, "Make a CA first: 'keyline init', or 'keyline ca request' with a root elsewhere.")
ERR(CA_CHAIN, "BadCaChain", OPERATOR, "This chain does not serve as the station's CA: have the root issue it as the message says.")
ERR(SIGNATURE, "BadSignature", HSM, "The HSM gave a wrong signature: stop and have the HSM checked.")
ERR(LEDGER, "Ledger", STORE, "The issuance ledger is not as the signer left it: restore it and restart the signer; do not delete it.")

/* devices and ports */
ERR(PORT, "Port", OPERATOR, "The port cannot be opened: check the cable, the slot's path and its permissions.")
ERR(DEVICE_GONE, "DeviceGone", DEVICE, "The device was pulled: put it in again, it goes on where it was.")
ERR(DEVICE_SILENT, "DeviceSilent", DEVICE, "The device stopped answering: check its power and contact, put it in again.")
ERR(DEVICE_GARBAGE, "DeviceGarbage", DEVICE, "The device's answers make no sense: check the baud rate, the contact and the firmware.")
ERR(DEVICE_REFUSED, "DeviceRefused", DEVICE, "The device refused a step: set it aside for repair.")
ERR(DEVICE_UNSUPPORTED, "DeviceUnsupported", DEVICE, "The device's firmware lacks what this job needs: update it.")
ERR(DEVICE_SEALED, "DeviceSealed", DEVICE, "The device is sealed with other credentials and takes none: set it aside, or open it as its maker says.")
ERR(DEVICE_READBACK, "ReadBack", DEVICE, "The device did not keep what was written: its memory is faulty, set it aside.")
ERR(DEVICE_CHALLENGE, "ChallengeFailed", DEVICE, "The device cannot use the key it was certified for: set it aside.")
ERR(DEVICE_UNKNOWN, "DeviceUnknown", OPERATOR, "The device is in no approved job: check its label, or import and approve its manifest.")
ERR(DEVICE_DONE, "DeviceDone", OPERATOR, "A device of this identity is registered, and this is another one or has lost its credentials: set it aside; a new certificate needs a re-issue job.")
ERR(DEVICE_BUSY, "DeviceBusy", OPERATOR, "The same identity is being worked on in another slot: two devices claim one name, set both aside.")
ERR(DEVICE_QUARANTINED, "DeviceQuarantined", OPERATOR, "The device is in quarantine: a supervisor must release it.")

/* the registry */
ERR(STORE, "Store", STORE, "The registry failed: check the disk; do not delete the file.")
ERR(SCHEMA_NEWER, "SchemaNewer", STORE, "The registry was written by a newer Keyline: install that version.")

/* upstream */
ERR(UPSTREAM_DOWN, "UpstreamDown", RETRY, "Upstream cannot be reached: work goes on, records wait and are sent later.")
ERR(UPSTREAM_REFUSED, "UpstreamRefused", OPERATOR, "Upstream refused the records: check the account and the address in keyline.conf.")
ERR(UPSTREAM_CONFLICT, "UpstreamConflict", OPERATOR, "Upstream holds other records under this number: is a second station using this name?")
ERR(UPSTREAM_NONSENSE, "UpstreamNonsense", RETRY, "Upstream answered what the contract does not allow: check that the address is right.")
ERR(UPSTREAM_UNTRUSTED, "UpstreamUntrusted", OPERATOR, "Upstream's certificate is not to be trusted, nothing was sent: check [upstream] url and ca_file, and the clock.")
