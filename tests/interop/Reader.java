import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Collections;
import java.util.HexFormat;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipInputStream;

/** Prints "[sha256] [name]" for each member of a ZIP file: java Reader.java file|stream FILE. */
class Reader {
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    public static void main(String[] arguments) throws IOException, GeneralSecurityException {
        Path path = Path.of(arguments[1]);
        if (arguments[0].equals("file")) {
            readFile(path);
        } else {
            readStream(path);
        }
        OUT.flush();
    }

    /** From the directory at the end of the file. */
    private static void readFile(Path path) throws IOException, GeneralSecurityException {
        try (ZipFile file = new ZipFile(path.toFile())) {
            for (ZipEntry entry : Collections.list(file.entries())) {
                print(entry.getName(), file.getInputStream(entry));
            }
        }
    }

    /** From the first byte to the last, as from a network. */
    private static void readStream(Path path) throws IOException, GeneralSecurityException {
        try (ZipInputStream stream = new ZipInputStream(new BufferedInputStream(Files.newInputStream(path)))) {
            for (ZipEntry entry = stream.getNextEntry(); entry != null; entry = stream.getNextEntry()) {
                print(entry.getName(), stream);
            }
        }
    }

    private static void print(String name, InputStream contents) throws IOException, GeneralSecurityException {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] buffer = new byte[1 << 16];
        for (int count = contents.read(buffer); count >= 0; count = contents.read(buffer)) {
            digest.update(buffer, 0, count);
        }
        OUT.println(HexFormat.of().formatHex(digest.digest()) + " " + name);
    }
}
