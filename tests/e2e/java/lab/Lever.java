package lab;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;

/** A JVM that does nothing but what the lines of its standard input say, and answers each with a line. */
public final class Lever {
    private static final List<byte[]> KEPT = new ArrayList<>();
    /** Written to, so that no allocation is optimised away. */
    public static volatile Object last;

    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            try {
                obey(words[0], words.length > 1 ? Integer.parseInt(words[1]) : 0);
                System.out.println("ok");
            } catch (OutOfMemoryError e) {
                System.out.println("out of memory");
            }
        }
    }

    private static void obey(String word, int number) throws Exception {
        switch (word) {
            case "keep" -> {
                for (int i = 0; i < number; i++) {
                    KEPT.add(new byte[1 << 20]);
                }
            }
            case "churn" -> {
                for (int i = 0; i < number * 16; i++) {
                    last = new byte[1 << 16];
                }
            }
            case "free" -> KEPT.clear();
            case "collect" -> System.gc();
            case "setuid" -> Setuid.become(number);
            default -> throw new IllegalArgumentException(word);
        }
    }
}
