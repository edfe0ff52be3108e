/* A device with wolfSSL as Debian builds it. Says one HTTP request over TLS and prints what was agreed upon and the answer's
 * first line:
 *
 *     wolfssl_client HOST PORT CA.pem 1.2|1.3 PATH [SUITES]
 */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *step, WOLFSSL *ssl, int result) {
    char text[WOLFSSL_MAX_ERROR_SZ] = "";
    if (ssl != NULL) {
        wolfSSL_ERR_error_string((unsigned long)wolfSSL_get_error(ssl, result), text);
    }
    fprintf(stderr, "%s failed: %s\n", step, text);
    return 1;
}

static int dial(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, host, &address.sin_addr);
    return connect(tcp, (struct sockaddr *)&address, sizeof address) == 0 ? tcp : -1;
}

static int ask(WOLFSSL *ssl, const char *host, const char *path) {
    char text[1024];
    int result = wolfSSL_connect(ssl);
    if (result != WOLFSSL_SUCCESS) {
        return fail("handshake", ssl, result);
    }
    printf("%s %s\n", wolfSSL_get_version(ssl), wolfSSL_get_cipher(ssl));
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
    if (wolfSSL_write(ssl, text, length) != length) {
        return fail("write", ssl, 0);
    }
    result = wolfSSL_read(ssl, text, sizeof text - 1);
    if (result <= 0) {
        return fail("read", ssl, result);
    }
    text[result] = '\0';
    printf("%.*s\n", (int)strcspn(text, "\r"), text);
    return 0;
}

int main(int count, char **arguments) {
    if (count < 6) {
        return fail("usage", NULL, 0);
    }
    wolfSSL_Init();
    int is_12 = strcmp(arguments[4], "1.2") == 0;
    WOLFSSL_CTX *context = wolfSSL_CTX_new(is_12 ? wolfTLSv1_2_client_method() : wolfTLSv1_3_client_method());
    if (wolfSSL_CTX_load_verify_locations(context, arguments[3], NULL) != WOLFSSL_SUCCESS) {
        return fail("CA", NULL, 0);
    }
    if (count > 6 && wolfSSL_CTX_set_cipher_list(context, arguments[6]) != WOLFSSL_SUCCESS) {
        return fail("suites", NULL, 0);
    }
    int tcp = dial(arguments[1], arguments[2]);
    WOLFSSL *ssl = wolfSSL_new(context);
    if (tcp < 0 || ssl == NULL) {
        return fail("connect", NULL, 0);
    }
    wolfSSL_set_fd(ssl, tcp);
    int status = ask(ssl, arguments[1], arguments[5]);
    wolfSSL_free(ssl);
    close(tcp);
    return status;
}
