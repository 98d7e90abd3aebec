import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Prints the partition that Kafka's Java producer gives to each key on standard input, a line of hexadecimal digits. */
public class Partitions {
    public static void main(String[] arguments) {
        int partitions = Integer.parseInt(arguments[0]);
        new java.io.BufferedReader(new java.io.InputStreamReader(System.in)).lines()
            .map(line -> BuiltInPartitioner.partitionForKey(HexFormat.of().parseHex(line), partitions))
            .forEach(System.out::println);
    }
}
