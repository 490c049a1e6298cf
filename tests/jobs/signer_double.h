/* A signer's door with a software key, for tests of jobd alone: it believes every ticket that is JSON, checks the proof
 * as the signer does, and gives the same (job, row, key) the same certificate. It answers Issue with the error whose name
 * stands in DIR/signer.error while that file exists. */
#pragma once
/* Serves until it is killed; for a child process. */
int signer_double_run(void);
